#include "coordinator/metrics/pages.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "proto/contract/job_spec.h"
#include "tests/coordinator/metrics/cluster.h"

namespace filigree::coordinator {
namespace {

TEST(Metrics, BeginAtZeroForEveryJob) {
  Cluster cluster;
  const std::string job = cluster.Run(2, 2), id = "run_id=\"" + job + "\"";
  EXPECT_TRUE(cluster.Has("filigree_workers{state=\"live\"} 1"));
  EXPECT_TRUE(cluster.Has("filigree_workers{state=\"lost\"} 0"));
  for (const std::string& line :
       {"filigree_run_info{" + id + ",run_name=\"train\",config_sha256=\"\",dp=\"2\",tp=\"2\"} 1",
        "filigree_workers{" + id + ",state=\"live\"} 1", "filigree_restarts_total{" + id + ",reason=\"fault\"} 0",
        "filigree_mask_sync_total{" + id + "} 0", "filigree_mask_mismatch_total{" + id + "} 0",
        "filigree_last_checkpoint_timestamp_seconds{" + id + "} 0", "filigree_step{" + id + "} 0"})
    EXPECT_TRUE(cluster.Has(line));
  EXPECT_EQ(cluster.Get("/metrics").find("loss"), std::string::npos);
}

TEST(Metrics, ShowWhatTheFirstRankTellsOfTheRun) {
  Cluster cluster;
  const std::string job = cluster.Run(2, 1), id = "run_id=\"" + job + "\"";
  RunFigures figures;
  figures.target_steps = 500;
  figures.train_loss = std::numeric_limits<double>::quiet_NaN();
  figures.learning_rate = 0.25;
  figures.tokens = 4096;
  figures.skipped_steps = 3;
  figures.config_sha256 = std::string(64, 'a');
  figures.matrices = {{0, "c_fc", 0.5, 0.25, 0.5},
                      {1, "c_fc", 0.75, 0.125, 0.25},
                      {1, "c_fc", 0.75, 0.125, {}},
                      {-1, "wte", 1, 0.5, {}}};
  cluster.rank(0).figures = std::make_shared<const RunFigures>(figures);
  cluster.rank(0).progress.step = 9;
  cluster.rank(1).progress.step = 8;
  RunFigures others;
  others.val_loss = 1;
  cluster.rank(1).figures = std::make_shared<const RunFigures>(others);  // is not asked
  ASSERT_TRUE(cluster.Beat().ok());
  ASSERT_TRUE(cluster.Commit(job, 8).ok());
  for (const std::string& line :
       {"filigree_step{" + id + "} 8", "filigree_target_steps{" + id + "} 500",
        "filigree_learning_rate{" + id + "} 0.25", "filigree_train_loss_nats{" + id + "} Nan",
        "filigree_tokens_total{" + id + "} 4096", "filigree_skipped_steps_total{" + id + ",reason=\"not_finite\"} 3",
        "filigree_last_checkpoint_timestamp_seconds{" + id + "} 1700000000.5",
        "filigree_layer_weight_density_ratio{" + id + ",layer=\"1\",matrix=\"c_fc\"} 0.75",
        "filigree_layer_weight_density_ratio{" + id + ",layer=\"\",matrix=\"wte\"} 1",
        "filigree_mask_threshold{" + id + ",matrix=\"c_fc\"} 0.125",
        "filigree_mask_churn_ratio{" + id + ",matrix=\"c_fc\"} 0.375"})
    EXPECT_TRUE(cluster.Has(line));
  EXPECT_EQ(cluster.Get("/metrics").find("val_loss"), std::string::npos);
  // The next heartbeat need not repeat them.
  cluster.rank(0).figures = nullptr;
  ASSERT_TRUE(cluster.Beat().ok());
  EXPECT_TRUE(cluster.Has("filigree_tokens_total{" + id + "} 4096"));
}

TEST(Metrics, CountLostWorkersAndRestarts) {
  Cluster cluster;
  const std::string job = cluster.Run(1, 1);
  cluster.Lose();
  EXPECT_TRUE(cluster.Has("filigree_workers{state=\"lost\"} 1"));
  EXPECT_TRUE(cluster.Has("filigree_restarts_total{run_id=\"" + job + "\",reason=\"fault\"} 1"));
}

// The series of a job that failed would be gone with it, and nobody would be told.
TEST(Metrics, TellOfAnEndForAnHour) {
  Cluster cluster;
  const std::string job = cluster.Run(1, 1, contract::kNoRestart);
  EXPECT_EQ(cluster.Get("/metrics").find("job_end"), std::string::npos);
  cluster.rank(0).state = RankState::kFailed;
  ASSERT_TRUE(cluster.Beat().ok());
  cluster.NothingRuns();
  ASSERT_TRUE(cluster.Beat().ok());
  const std::string line =
      "filigree_job_end_timestamp_seconds{run_id=\"" + job + "\",run_name=\"train\",state=\"failed\"} 1600000000";
  EXPECT_TRUE(cluster.Has(line));
  EXPECT_EQ(cluster.Get("/metrics").find("filigree_run_info"), std::string::npos);
  cluster.Pass(3600);
  EXPECT_TRUE(cluster.Has(line));
  cluster.Pass(1);
  EXPECT_EQ(cluster.Get("/metrics").find("job_end"), std::string::npos);
}

TEST(Metrics, NameARankThatTheOthersWaitFor) {
  Cluster cluster;
  const std::string job = cluster.Run(3, 1);
  constexpr auto kBackward = static_cast<size_t>(Phase::kBackward), kExchange = static_cast<size_t>(Phase::kExchange);
  const auto steps = [&](double slow_seconds) {
    for (int rank = 0; rank < 3; ++rank) {
      cluster.rank(rank).progress.step += 10;
      cluster.rank(rank).progress.seconds[kBackward] += rank == 1 ? slow_seconds : 1;
      cluster.rank(rank).progress.seconds[kExchange] += rank == 1 ? 0 : slow_seconds - 1;
    }
    ASSERT_TRUE(cluster.Beat().ok());
  };
  steps(1);
  steps(1);
  EXPECT_EQ(cluster.Get("/metrics").find("straggler"), std::string::npos);
  steps(2);
  EXPECT_TRUE(cluster.Has("filigree_straggler_ratio{run_id=\"" + job + "\",rank=\"1\",phase=\"backward\"} 2"));
  steps(1);
  EXPECT_EQ(cluster.Get("/metrics").find("straggler"), std::string::npos);
}

TEST(Discovery, ListsEveryRankThatSaysWhereItIs) {
  Cluster cluster;
  EXPECT_EQ(cluster.Get("/sd"), "[]");
  const std::string job = cluster.Run(3, 1);
  cluster.rank(0).metrics_address = "10.0.0.1:9400";
  cluster.rank(2).metrics_address = "[fd00::1]:9402";
  ASSERT_TRUE(cluster.Beat().ok());
  const auto groups = nlohmann::json::parse(cluster.Get("/sd"));
  const nlohmann::json expected = {{{"targets", {"10.0.0.1:9400"}}, {"labels", {{"run_id", job}, {"rank", "0"}}}},
                                   {{"targets", {"[fd00::1]:9402"}}, {"labels", {{"run_id", job}, {"rank", "2"}}}}};
  EXPECT_EQ(groups, expected);
  cluster.rank(2).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat().ok());
  EXPECT_EQ(nlohmann::json::parse(cluster.Get("/sd")).size(), 1);
  cluster.Lose();
  EXPECT_EQ(cluster.Get("/sd"), "[]");
}

TEST(Reports, WithWhatBelongsOnNoPageAreRefused) {
  Cluster cluster;
  cluster.Run(1, 1);
  for (const char* address : {"no address", "host:0", "host:70000", "a b:80", "http://x:80", "x\n:80"}) {
    cluster.rank(0).metrics_address = address;
    EXPECT_EQ(cluster.Beat().code(), absl::StatusCode::kInvalidArgument) << address;
  }
  cluster.rank(0).metrics_address = "host:80";
  EXPECT_TRUE(cluster.Beat().ok());
  RunFigures figures;
  figures.matrices = {{0, "c\"fc", 1, 1, {}}};
  cluster.rank(0).figures = std::make_shared<const RunFigures>(figures);
  EXPECT_EQ(cluster.Beat().code(), absl::StatusCode::kInvalidArgument);
  figures.matrices.assign(kMaxMatrices + 1, {0, "c_fc", 1, 1, {}});
  cluster.rank(0).figures = std::make_shared<const RunFigures>(figures);
  EXPECT_EQ(cluster.Beat().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Pages, SayThatTheCoreCannotBeAsked) {
  const auto pages = Pages({}, [](const auto&) { return false; });
  for (const auto& [path, make] : pages) EXPECT_EQ(make().status().code(), absl::StatusCode::kUnavailable) << path;
  EXPECT_EQ(pages.size(), 3);
}

}  // namespace
}  // namespace filigree::coordinator
