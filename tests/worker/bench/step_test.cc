#include "worker/bench/step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

// What the line of one step promises: the keys that a PyTorch step prints too, and figures that follow from the sizes.

namespace filigree::bench {
namespace {

constexpr Common kCommon{.threads = 2, .repeats = 3};

StepSizes Small() {
  StepSizes sizes;
  sizes.d_model = 64;
  sizes.layers = 2;
  sizes.batch = 6;
  sizes.context = 20;
  sizes.vocab = 96;
  sizes.density = 1.0 / 8;
  return sizes;
}

TEST(StepBenchTest, TheLineJoinsWithPyTorchsAndFollowsFromTheSizes) {
  const absl::StatusOr<StepReport> report = RunStep(Small(), kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::string text = FormatJson(*report);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const nlohmann::json line = nlohmann::json::parse(text);
  for (const char* key : {"variant",
                          "dtype",
                          "d_model",
                          "layers",
                          "tokens",
                          "density",
                          "params",
                          "threads",
                          "ms_per_step",
                          "min_ms",
                          "tokens_per_s",
                          "dense_fp32_gflops",
                          "tensor_groups",
                          "f_e",
                          "shards",
                          "min_alive",
                          "batch",
                          "ctx",
                          "vocab",
                          "afrac",
                          "steps",
                          "forward_ms",
                          "backward_ms",
                          "optimizer_ms",
                          "topk_ms",
                          "cpu_ms_per_step",
                          "percent_of_peak",
                          "parameter_memory_mib",
                          "peak_memory_mib",
                          "cpu",
                          "simd",
                          "peak_gflops"}) {
    EXPECT_TRUE(line.contains(key)) << key;
  }
  EXPECT_EQ(line["variant"], "filigree-exact");
  EXPECT_EQ(line["dtype"], "fp32");
  EXPECT_EQ(line["tokens"], 120);
  EXPECT_EQ(line["threads"], 2);
  EXPECT_EQ(line["shards"], 4);
  EXPECT_EQ(line["min_alive"], 4);
  EXPECT_EQ(line["f_e"], 0.25);
  // Embeddings, bigram table, final gain; a layer: two gains, 12 D^2 of matrices and their 9 D biases.
  EXPECT_EQ(line["params"], 2 * 96 * 64 + 96 * 96 + 64 + 2 * (2 * 64 + 12 * 64 * 64 + 9 * 64));
  const double ms = line["ms_per_step"], minimum = line["min_ms"];
  EXPECT_GT(minimum, 0);
  EXPECT_LE(minimum, ms);
  // Milliseconds are rounded to tenths.
  EXPECT_NEAR(1e3 * 120 / line["tokens_per_s"].get<double>(), ms, 0.06);
  EXPECT_NE(FormatTable(*report).find("tokens_per_s"), std::string::npos);
}

TEST(StepBenchTest, ActivationsAsBf16AreSaid) {
  StepSizes sizes = Small();
  sizes.activations = "bf16";
  const absl::StatusOr<StepReport> report = RunStep(sizes, {.threads = 1, .repeats = 1});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->line["dtype"], "bf16");
  sizes.activations = "fp16";
  EXPECT_EQ(RunStep(sizes, {.threads = 1, .repeats = 1}).status().message(),
            "--activations is 'fp16', expected fp32 or bf16");
}

TEST(StepBenchTest, MinAliveIsTheOneThatMatricesReallyGet) {
  StepSizes sizes = Small();
  sizes.density = 1.0 / 32;  // 64 / 32 = 2 a unit
  const absl::StatusOr<StepReport> report = RunStep(sizes, {.threads = 1, .repeats = 1});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->line["min_alive"], 2);
}

void ExpectRefused(const StepSizes& sizes, const std::vector<std::string>& words) {
  const absl::Status status = RunStep(sizes, kCommon).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& word : words)
    EXPECT_NE(status.ToString().find(word), std::string::npos) << word << ": " << status;
}

TEST(StepBenchTest, SizesThatMakeNoModelAreRefusedByName) {
  StepSizes sizes = Small();
  sizes.d_model = 0;
  ExpectRefused(sizes, {"--d is 0"});
  sizes = Small();
  sizes.d_model = 72;  // no multiple of 16
  ExpectRefused(sizes, {"d_model", "72", "16"});
  sizes = Small();
  sizes.shards = 7;  // more than sequences
  ExpectRefused(sizes, {"--shards is 7", "from 1 to 6"});
  sizes = Small();
  sizes.density = 0;
  ExpectRefused(sizes, {"--density is 0"});
  sizes = Small();
  sizes.embedding_density = NAN;
  ExpectRefused(sizes, {"--embedding-density"});
  sizes = Small();
  sizes.vocab = 1;
  ExpectRefused(sizes, {"--vocab is 1"});
  sizes = Small();
  sizes.d_model = 8192;
  sizes.layers = 256;
  ExpectRefused(sizes, {"GiB", "make them smaller"});
}

// Every step that is timed would change its candidates.
TEST(StepBenchTest, AStepWithoutARefreshIsNeeded) {
  StepSizes sizes = Small();
  sizes.regime = "active";
  sizes.refresh_every = 1;
  const absl::Status status = RunStep(sizes, {.threads = 1, .repeats = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("--refresh-every is from 2 to 1000"), absl::string_view::npos) << status;
  sizes.refresh_every = 1'000'000'000;  // so many steps would have to be done
  EXPECT_FALSE(RunStep(sizes, {.threads = 1, .repeats = 1}).ok());
  sizes.refresh_every = 2;
  EXPECT_TRUE(RunStep(sizes, {.threads = 1, .repeats = 1}).ok());
}

}  // namespace
}  // namespace filigree::bench
