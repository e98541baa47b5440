#include "worker/metrics/rank_metrics.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <string>
#include <thread>

namespace filigree::metrics {
namespace {

RankOptions Options(bool whole_run) {
  RankOptions options;
  options.build = {"1.0", "abc", "none", "none", "none"};
  options.run_id = std::string("r");
  options.rank = 2;
  options.clock = [] { return 1000.5; };
  if (whole_run) options.run = RunInfo{"name", "0123", 2, 1, 0.25};
  return options;
}

testing::AssertionResult Has(const RankMetrics& metrics, const std::string& line) {
  const std::string text = metrics.Page().body;
  if (text.find(std::string("\n").append(line).append("\n")) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << line << " is not in\n" << text;
}

telemetry::StepRecord Record(int64_t step) {
  telemetry::StepRecord record;
  record.step = step;
  record.loss = 2.5;
  record.lr = 0.125;
  record.density = 0.5;
  record.gradient_norm = 3;
  record.ms = 250;
  for (int p = 0; p < telemetry::kPhases; ++p) record.phase_seconds[p] = p + 1;
  record.wire = {100, 80, 1000, 30, 20};
  return record;
}

telemetry::RunRecord Start(int64_t step) {
  telemetry::RunRecord record;
  record.step = step;
  record.steps = 50;
  record.tokens_per_step = 64;
  return record;
}

TEST(RankMetrics, BeginsAtZero) {
  const RankMetrics metrics(Options(true));
  for (const char* line :
       {"filigree_step_duration_seconds_count{run_id=\"r\",rank=\"2\"} 0",
        "filigree_step_phase_seconds_total{run_id=\"r\",rank=\"2\",phase=\"topk\"} 0",
        "filigree_comm_bytes_total{run_id=\"r\",rank=\"2\",op=\"activations\",direction=\"received\"} 0",
        "filigree_comm_dense_equivalent_bytes_total{run_id=\"r\",rank=\"2\",op=\"gradients\",direction=\"sent\"} 0",
        "filigree_last_step_timestamp_seconds{run_id=\"r\",rank=\"2\"} 1000.5", "filigree_tokens_total{run_id=\"r\"} 0",
        "filigree_skipped_steps_total{run_id=\"r\",reason=\"not_finite\"} 0",
        "filigree_last_checkpoint_timestamp_seconds{run_id=\"r\"} 0",
        "filigree_checkpoint_failures_total{run_id=\"r\"} 0", "filigree_mask_mismatch_total{run_id=\"r\"} 0",
        "filigree_run_info{run_id=\"r\",run_name=\"name\",config_sha256=\"0123\",dp=\"2\",tp=\"1\"} 1"})
    EXPECT_TRUE(Has(metrics, line));
  // A loss of 0 would be a very good one.
  EXPECT_EQ(metrics.Page().body.find("loss"), std::string::npos);
}

TEST(RankMetrics, AddsUpWhatStepsTell) {
  RankMetrics metrics(Options(true));
  metrics.Run(Start(5));
  metrics.Step(Record(5));
  metrics.Step(Record(6));
  metrics.Checkpoint({});
  metrics.CheckpointFailed();
  metrics.ReplicasDiffered();
  for (const char* line :
       {"filigree_step_duration_seconds_count{run_id=\"r\",rank=\"2\"} 2",
        "filigree_step_duration_seconds_sum{run_id=\"r\",rank=\"2\"} 0.5",
        "filigree_step_duration_seconds_bucket{run_id=\"r\",rank=\"2\",le=\"0.1\"} 0",
        "filigree_step_duration_seconds_bucket{run_id=\"r\",rank=\"2\",le=\"0.25\"} 2",
        "filigree_step_duration_seconds_bucket{run_id=\"r\",rank=\"2\",le=\"+Inf\"} 2",
        "filigree_step_phase_seconds_total{run_id=\"r\",rank=\"2\",phase=\"data\"} 2",
        "filigree_step_phase_seconds_total{run_id=\"r\",rank=\"2\",phase=\"checkpoint\"} 16",
        "filigree_comm_bytes_total{run_id=\"r\",rank=\"2\",op=\"gradients\",direction=\"sent\"} 140",
        "filigree_comm_bytes_total{run_id=\"r\",rank=\"2\",op=\"gradients\",direction=\"received\"} 120",
        "filigree_comm_bytes_total{run_id=\"r\",rank=\"2\",op=\"activations\",direction=\"sent\"} 60",
        "filigree_comm_dense_equivalent_bytes_total{run_id=\"r\",rank=\"2\",op=\"gradients\",direction=\"sent\"} 2000",
        "filigree_step{run_id=\"r\"} 7", "filigree_target_steps{run_id=\"r\"} 50",
        "filigree_tokens_total{run_id=\"r\"} 128", "filigree_train_loss_nats{run_id=\"r\"} 2.5",
        "filigree_last_checkpoint_timestamp_seconds{run_id=\"r\"} 1000.5",
        "filigree_checkpoint_failures_total{run_id=\"r\"} 1", "filigree_mask_mismatch_total{run_id=\"r\"} 1"})
    EXPECT_TRUE(Has(metrics, line));
}

TEST(RankMetrics, CountsStepsThatAreNotFinite) {
  RankMetrics metrics(Options(true));
  telemetry::StepRecord record = Record(0);
  record.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.Step(record);
  record = Record(1);
  record.gradient_norm = std::numeric_limits<double>::infinity();
  metrics.Step(record);
  EXPECT_TRUE(Has(metrics, "filigree_skipped_steps_total{run_id=\"r\",reason=\"not_finite\"} 2"));
  EXPECT_TRUE(Has(metrics, "filigree_gradient_norm{run_id=\"r\"} +Inf"));
}

TEST(RankMetrics, ShowsMatricesByLayerAndKind) {
  RankMetrics metrics(Options(true));
  telemetry::SnapshotRecord snapshot;
  for (const int layer : {0, 1}) {
    telemetry::MatrixSnapshot& matrix = snapshot.matrices.emplace_back();
    matrix.layer = layer;
    matrix.kind = "c_fc";
    matrix.numel = 100;
    matrix.nnz = 10 + layer;
    matrix.threshold = 0.5 - 0.25 * layer;
  }
  metrics.Snapshot(snapshot);
  EXPECT_TRUE(Has(metrics, "filigree_layer_weight_density_ratio{run_id=\"r\",layer=\"0\",matrix=\"c_fc\"} 0.1"));
  EXPECT_TRUE(Has(metrics, "filigree_layer_weight_density_ratio{run_id=\"r\",layer=\"1\",matrix=\"c_fc\"} 0.11"));
  EXPECT_TRUE(Has(metrics, "filigree_mask_threshold{run_id=\"r\",matrix=\"c_fc\"} 0.25"));
}

TEST(RankMetrics, LeavesTheRunToWhoeverShowsIt) {
  RankMetrics metrics(Options(false));
  metrics.Run(Start(0));
  metrics.Step(Record(0));
  metrics.Eval({});
  metrics.CheckpointFailed();
  metrics.ReplicasDiffered();
  const std::string text = metrics.Page().body;
  for (const char* name : {"loss", "tokens", "filigree_step{", "checkpoint_failures", "run_info"})
    EXPECT_EQ(text.find(name), std::string::npos) << name;
}

TEST(RankMetrics, MakesTextOfNamesThatAreNone) {
  RankOptions options = Options(false);
  options.run_id = std::string("a\xff\"b");
  EXPECT_TRUE(
      Has(RankMetrics(options), "filigree_step_duration_seconds_count{run_id=\"a\xef\xbf\xbd\\\"b\",rank=\"2\"} 0"));
}

TEST(RankMetrics, MayBeReadWhileItIsTold) {
  RankMetrics metrics(Options(true));
  std::atomic<bool> over = false;
  std::thread reader([&] {
    while (!over) EXPECT_FALSE(metrics.Page().body.empty());
  });
  for (int step = 0; step < 2000; ++step) metrics.Step(Record(step));
  metrics.Snapshot({});
  over = true;
  reader.join();
  EXPECT_TRUE(Has(metrics, "filigree_step_duration_seconds_count{run_id=\"r\",rank=\"2\"} 2000"));
}

TEST(RankMetrics, GivesTheSameNumbersToWhoPassesThemOn) {
  RankMetrics metrics(Options(true));
  EXPECT_FALSE(metrics.Read().opened);
  EXPECT_FALSE(metrics.Read().run->train_loss.has_value());
  metrics.Run(Start(5));
  EXPECT_TRUE(metrics.Read().opened);
  EXPECT_EQ(metrics.Read().step, 5);
  metrics.Step(Record(5));
  metrics.Step(Record(6));
  telemetry::EvalRecord eval;
  eval.loss = 2.25;
  metrics.Eval(eval);
  telemetry::SnapshotRecord snapshot;
  snapshot.matrices.resize(1);
  snapshot.matrices[0].layer = 3;
  snapshot.matrices[0].kind = "c_fc";
  snapshot.matrices[0].numel = 8;
  snapshot.matrices[0].nnz = 2;
  snapshot.matrices[0].threshold = 0.5;
  metrics.Snapshot(snapshot);
  metrics.CheckpointFailed();
  const RankReading reading = metrics.Read();
  EXPECT_EQ(reading.step, 7);
  EXPECT_EQ(reading.phase_seconds[2], 6);
  EXPECT_EQ(reading.sent_bytes, 200);
  EXPECT_EQ(reading.received_bytes, 160);
  EXPECT_EQ(reading.dense_equivalent_bytes, 2000);
  ASSERT_TRUE(reading.run.has_value());
  EXPECT_EQ(reading.run->target_steps, 50);
  EXPECT_EQ(reading.run->train_loss, 2.5);
  EXPECT_EQ(reading.run->val_loss, 2.25);
  EXPECT_EQ(reading.run->density, 0.5);
  EXPECT_EQ(reading.run->target_density, 0.25);
  EXPECT_EQ(reading.run->tokens, 128);
  EXPECT_EQ(reading.run->checkpoint_failures, 1);
  EXPECT_EQ(reading.run->config_sha256, "0123");
  ASSERT_EQ(reading.run->matrices.size(), 1u);
  EXPECT_EQ(reading.run->matrices[0].layer, 3);
  EXPECT_EQ(reading.run->matrices[0].kind, "c_fc");
  EXPECT_EQ(reading.run->matrices[0].density, 0.25);
  EXPECT_EQ(reading.run->matrices[0].threshold, 0.5);
}

TEST(RankMetrics, PassesTheLastStateOn) {
  RankMetrics metrics(Options(false));
  EXPECT_EQ(metrics.Read().update, -1);
  metrics.StateWas(8, {{"masks", "12"}});
  metrics.StateWas(16, {{"masks", "34"}, {"weights", "56"}});
  const RankReading reading = metrics.Read();
  EXPECT_EQ(reading.update, 16);
  ASSERT_EQ(reading.state.size(), 2u);
  EXPECT_EQ(reading.state[1].second, "56");
}

TEST(RankMetrics, OfARunThatSomebodyElseShowsAreReadAndNotShown) {
  RankOptions options = Options(true);
  options.shows_run = false;
  RankMetrics metrics(options);
  metrics.Run(Start(5));
  EXPECT_EQ(metrics.Read().run->target_steps, 50);
  EXPECT_EQ(metrics.Page().body.find("filigree_target_steps"), std::string::npos);
  EXPECT_FALSE(RankMetrics(Options(false)).Read().run.has_value());
}

}  // namespace
}  // namespace filigree::metrics
