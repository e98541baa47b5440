#include "worker/bench/bench.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "kernels/base/buffer.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/bench/print.h"

// What a benchmark promises whatever the machine does meanwhile: keys, units, sizes, messages. Never how fast anything
// is.

namespace filigree::bench {
namespace {

using nlohmann::json;

constexpr Common kCommon{.threads = 2, .repeats = 3};

std::vector<json> Lines(const Report& report) {
  std::vector<json> lines;
  std::istringstream in(FormatJson(report));
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

json LineOf(const Report& report, const std::string& variant) {
  for (const json& line : Lines(report)) {
    if (line["variant"] == variant) return line;
  }
  ADD_FAILURE() << "no variant " << variant;
  return {};
}

// Every line has every key, and its figures agree with each other (they are rounded to four digits).
void ExpectWellFormed(const Report& report, const std::string& bench) {
  ASSERT_FALSE(report.results.empty());
  for (const json& line : Lines(report)) {
    SCOPED_TRACE(line.dump());
    for (const char* key : {"bench",
                            "variant",
                            "dtype",
                            "threads",
                            "repeats",
                            "clock",
                            "median_ms",
                            "min_ms",
                            "flops",
                            "bytes",
                            "gflops",
                            "gbps",
                            "gbps_per_thread",
                            "flops_per_byte",
                            "roofline_ms",
                            "percent_of_peak",
                            "bound",
                            "cpu",
                            "cores",
                            "simd",
                            "peak_core_gflops",
                            "peak_gflops",
                            "peak_core_l2_gbps",
                            "peak_core_update_gbps",
                            "peak_update_gbps",
                            "peak_core_memory_gbps",
                            "peak_memory_gbps"}) {
      EXPECT_TRUE(line.contains(key)) << key;
    }
    for (const auto& [key, value] : report.sizes.items()) EXPECT_EQ(line[key].dump(), value.dump()) << key;
    EXPECT_EQ(line["bench"], bench);
    EXPECT_EQ(line["threads"], 2);
    EXPECT_EQ(line["repeats"], 3);
    const double median = line["median_ms"], minimum = line["min_ms"], gbps = line["gbps"];
    EXPECT_GT(minimum, 0);
    EXPECT_LE(minimum, median * 1.001);
    EXPECT_NEAR(gbps * median * 1e6, line["bytes"].get<double>(), 0.002 * line["bytes"].get<double>());
    const double roofline = line["roofline_ms"], percent = line["percent_of_peak"];
    EXPECT_GT(roofline, 0);
    EXPECT_NEAR(percent, 100 * roofline / median, 0.002 * percent);
    // Bound by what takes longer: the bytes as fast as the level of the case, or the FLOPs.
    const double arithmetic = 1e-6 * line["flops"].get<double>() / line["peak_gflops"].get<double>();
    EXPECT_GE(roofline, 0.998 * arithmetic);
    if (line["bound"] == "arithmetic") {
      EXPECT_NEAR(roofline, arithmetic, 0.002 * arithmetic);
    }
    if (line.contains("baseline")) {
      EXPECT_GT(line["speedup"], 0);
      EXPECT_GE(line["baseline_median_ms"], line["baseline_min_ms"]);
    }
  }
  const std::string table = FormatTable(report);
  EXPECT_NE(table.find("roofline:"), std::string::npos);
  for (const Result& result : report.results) EXPECT_NE(table.find(result.variant), std::string::npos);
}

TEST(BenchTest, Linear) {
  const LinearSizes sizes{.out = 70, .in = 130, .tokens = 100, .density = 1.0 / 16};
  const absl::StatusOr<Report> report = RunLinear(sizes, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "linear");
  const json forward = LineOf(*report, "forward");
  const int nnz = 70 * 130 / 16;
  EXPECT_EQ(forward["nnz"], nnz);
  EXPECT_EQ(forward["baseline"], "dense_forward");
  // Two tiles: padding is computed, and counted.
  EXPECT_EQ(forward["flops"], 2.0 * nnz * 128);
  EXPECT_EQ(LineOf(*report, "dw_exact")["flops"], 2.0 * 70 * 130 * 128 * 17 / 70);
  EXPECT_EQ(LineOf(*report, "dense_dw")["flops"], 2.0 * 70 * 130 * 128);
  // Of x half the bytes: 70 rows of y are written either way.
  const json bf16 = LineOf(*report, "forward_bf16");
  EXPECT_EQ(bf16["baseline"], "forward");
  EXPECT_EQ(forward["bytes"].get<double>() - bf16["bytes"].get<double>(), 2.0 * 256 * nnz / 2);
  EXPECT_EQ(LineOf(*report, "dw_exact_bf16")["baseline"], "dw_exact");
}

TEST(BenchTest, Candidates) {
  const CandidatesSizes sizes{.out = 70, .in = 130, .tokens = 100, .density = 1.0 / 16, .candidates = 4};
  const absl::StatusOr<Report> report = RunCandidates(sizes, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "candidates");
  const int kept = 70 * 130 / 16, nnz = 70 * 130 / 4;
  const json forward = LineOf(*report, "forward"), both = LineOf(*report, "dx_and_dw");
  EXPECT_EQ(forward["kept"], kept);
  EXPECT_EQ(forward["nnz"], nnz);
  // Two tiles: padding is computed, and counted.
  EXPECT_EQ(forward["flops"], 2.0 * kept * 128);
  EXPECT_EQ(LineOf(*report, "dw")["flops"], 2.0 * nnz * 128);
  EXPECT_EQ(both["flops"], 2.0 * (kept + nnz) * 128);
  EXPECT_EQ(both["baseline"], "dense_dx_and_dw");
  EXPECT_EQ(LineOf(*report, "dense_dx_and_dw")["flops"], 4.0 * 70 * 130 * 128);
}

TEST(BenchTest, EverythingMayBeACandidate) {
  const absl::StatusOr<Report> report =
      RunCandidates({.out = 20, .in = 30, .tokens = 64, .density = 0.5, .candidates = 4}, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->sizes["kept"], 300);
  EXPECT_EQ(report->sizes["nnz"], 600);
}

TEST(BenchTest, Attention) {
  const AttentionSizes sizes{.heads = 3, .d_head = 8, .context = 65, .sequences = 2};
  const absl::StatusOr<Report> report = RunAttention(sizes, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "attention");
  // Two products of K multiply-adds for each of T (T + 1) / 2 pairs of a head, of which a quarter is kept.
  const double dense = 2 * 2.0 * 8 * (65 * 33) * 3 * 2;
  EXPECT_EQ(LineOf(*report, "forward_all_kept")["flops"], dense);
  EXPECT_EQ(LineOf(*report, "forward")["flops"], dense / 4);
}

TEST(BenchTest, AbsTopK) {
  const absl::StatusOr<Report> report = RunAbsTopK({.channels = 96, .zeros = 0.9, .tiles = 3}, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "abstopk");
  EXPECT_EQ(LineOf(*report, "warm")["k"], 24);
  EXPECT_EQ(LineOf(*report, "warm")["bytes"], 4.0 * 96 * 64 * 3 * 2);
}

TEST(BenchTest, Select) {
  for (const char* unit : {"row", "column", "none"}) {
    const absl::StatusOr<Report> report = RunSelect({.rows = 40, .cols = 64, .density = 0.1, .unit = unit}, kCommon);
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectWellFormed(*report, "select");
    const json warm = LineOf(*report, "warm");
    EXPECT_EQ(warm["k"], 256);
    EXPECT_EQ(LineOf(*report, "shared")["baseline"], "read");
    // 256 / 40 and 256 / 64 allow 4 a unit.
    EXPECT_EQ(warm["min_alive"], unit == std::string("none") ? 0 : 4);
  }
}

TEST(BenchTest, SelectLowersMinAliveWhereTheDensityCannotCarryIt) {
  const absl::StatusOr<Report> report = RunSelect({.rows = 100, .cols = 64, .density = 1.0 / 32}, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->sizes["min_alive"], 2);
}

TEST(BenchTest, CandidateSelect) {
  for (const char* unit : {"row", "column", "none"}) {
    const CandidateSelectSizes sizes = {.matrix = {.rows = 40, .cols = 64, .density = 0.1, .unit = unit},
                                        .candidates = 2.5};
    const absl::StatusOr<Report> report = RunCandidateSelect(sizes, kCommon);
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectWellFormed(*report, "candidate_select");
    EXPECT_EQ(LineOf(*report, "warm")["k"], 256);
    EXPECT_EQ(LineOf(*report, "warm")["nnz"], 640);
    EXPECT_EQ(LineOf(*report, "refresh")["baseline"], "dense");
  }
}

TEST(BenchTest, Adam) {
  const absl::StatusOr<Report> report = RunAdam({.elements = 70001}, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "adam");
  EXPECT_EQ(LineOf(*report, "adam")["bytes"], 28.0 * 70001);
}

TEST(BenchTest, Digest) {
  const absl::StatusOr<Report> report = RunDigest({.rows = 70, .cols = 64, .density = 0.1}, kCommon);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectWellFormed(*report, "digest");
  EXPECT_EQ(LineOf(*report, "candidates")["nnz"], 448);
  EXPECT_EQ(LineOf(*report, "candidates")["baseline"], "read_candidates");
  EXPECT_EQ(LineOf(*report, "whole")["bytes"], 12.0 * 70 * 64);
}

// A refusal names the flag, the value and what would do.
void ExpectRefused(const absl::Status& status, const std::vector<std::string>& words) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& word : words)
    EXPECT_NE(status.ToString().find(word), std::string::npos) << word << ": " << status;
}

TEST(LimitsTest, SizesOutOfRangeAreRefusedByName) {
  ExpectRefused(RunLinear({.out = 0}, {}).status(), {"--out is 0", "from 1 to 65536"});
  ExpectRefused(RunLinear({.in = 65537}, {}).status(), {"--in is 65537"});
  ExpectRefused(RunLinear({.tokens = -5}, {}).status(), {"--tokens is -5"});
  ExpectRefused(RunLinear({.density = 0}, {}).status(), {"--density is 0", "above 0", "1/64"});
  ExpectRefused(RunLinear({.density = 1.5}, {}).status(), {"--density is 1.5"});
  ExpectRefused(RunLinear({.in = 16, .afrac = 0.01}, {}).status(), {"--afrac 0.01 keeps no entry of 16", "1/16"});
  ExpectRefused(RunCandidates({.in = 65537}, {}).status(), {"--in is 65537"});
  ExpectRefused(RunCandidates({.density = 2}, {}).status(), {"--density is 2"});
  ExpectRefused(RunCandidates({.candidates = 0.5}, {}).status(), {"--candidates is 0.5", "at least 1"});
  ExpectRefused(RunAttention({.d_head = 257}, {}).status(), {"--d-head is 257", "256"});
  ExpectRefused(RunAttention({.heads = 4096, .d_head = 64}, {}).status(), {"--heads times --d-head is 262144"});
  ExpectRefused(RunAbsTopK({.channels = 40000}, {}).status(), {"--channels is 40000", "32768"});
  ExpectRefused(RunAbsTopK({.zeros = -0.5}, {}).status(), {"--zeros is -0.5", "from 0 to 1"});
  ExpectRefused(RunSelect({.unit = "diagonal"}, {}).status(), {"--unit is \"diagonal\"", "row, column or none"});
  ExpectRefused(RunSelect({.min_alive = -1}, {}).status(), {"--min-alive is -1"});
  ExpectRefused(RunCandidateSelect({.candidates = 0.5}, {}).status(), {"--candidates is 0.5", "from 1"});
  ExpectRefused(RunCandidateSelect({.matrix = {.rows = 65537}}, {}).status(), {"--rows is 65537"});
  ExpectRefused(RunAdam({.elements = 0}, {}).status(), {"--elements is 0"});
  ExpectRefused(RunDigest({.rows = 65537}, {}).status(), {"--rows is 65537"});
  ExpectRefused(RunDigest({.rows = 8, .cols = 8, .density = 0.01}, {}).status(), {"--density 0.01", "8 x 8"});
  ExpectRefused(RunAdam({}, {.threads = -1}).status(), {"--threads is -1"});
  ExpectRefused(RunAdam({}, {.repeats = 0}).status(), {"--repeats is 0"});
}

TEST(LimitsTest, MoreMemoryThanTheMachineHasIsRefusedBeforeItIsTaken) {
  ExpectRefused(RunAdam({.elements = int64_t{1} << 40}, {}).status(), {"GiB", "make them smaller"});
  ExpectRefused(RunLinear({.out = 65536, .in = 65536, .tokens = 1 << 22}, {}).status(), {"GiB"});
}

TEST(LimitsTest, NumbersMayBeFractions) {
  EXPECT_EQ(*ParseNumber("--density", "1/64"), 1.0 / 64);
  EXPECT_EQ(*ParseNumber("--density", "0.25"), 0.25);
  EXPECT_EQ(*ParseNumber("--density", "1e-3"), 1e-3);
  for (const char* text : {"", "x", "1/0", "1/", "/2", "1/2/3", "0.5 or so", "inf", "nan"}) {
    ExpectRefused(ParseNumber("--density", text).status(), {"--density is \"" + std::string(text) + "\"", "1/64"});
  }
}

TEST(MeasureTest, MedianIsTheMiddleOrTheMeanOfTheTwo) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Median({7}), 7);
}

TEST(MeasureTest, TheLongerOfArithmeticAndTransferIsTheBound) {
  machine::Machine machine;
  machine.threads = 2;
  machine.processor.cores = 2;
  machine.all_gflops = 100;
  machine.core_l2_gbps = 50;
  machine.all_dram_gbps = 20;
  machine.all_update_gbps = 40;
  EXPECT_EQ(LeastTime(0, 8e10, Level::kMemoryBothWays, machine), std::make_pair(2.0, std::string("memory")));
  EXPECT_EQ(LeastTime(1e11, 1e9, Level::kMemory, machine), std::make_pair(1.0, std::string("arithmetic")));
  EXPECT_EQ(LeastTime(0, 2e10, Level::kMemory, machine), std::make_pair(1.0, std::string("memory")));
  EXPECT_EQ(LeastTime(0, 2e11, Level::kL2, machine), std::make_pair(2.0, std::string("l2")));
}

TEST(MeasureTest, TheRoofIsOfAsManyThreadsAsRun) {
  machine::Machine machine;
  machine.processor.cores = 4;
  machine.core_gflops = 50;
  machine.all_gflops = 190;
  machine.core_l2_gbps = 30;
  machine.core_dram_gbps = 10;
  machine.all_dram_gbps = 25;
  machine.core_update_gbps = 12;
  machine.all_update_gbps = 20;
  const Roof one = RoofOf(machine);
  EXPECT_EQ(one.gflops, 50);
  EXPECT_EQ(one.l2_gbps, 30);
  EXPECT_EQ(one.memory_gbps, 10);
  EXPECT_EQ(one.both_ways_gbps, 12);
  machine.threads = 6;
  const Roof all = RoofOf(machine);
  EXPECT_EQ(all.gflops, 190);
  EXPECT_EQ(all.l2_gbps, 120);  // four cores
  EXPECT_EQ(all.memory_gbps, 25);
  EXPECT_EQ(all.both_ways_gbps, 25);
}

// A slow baseline that does a tenth of the work counts as ten times its time: known from the calls alone, as both cases
// do the same.
TEST(MeasureTest, APartCountsAsTheWhole) {
  machine::Machine machine;
  machine.threads = 1;
  machine.core_gflops = machine.all_gflops = machine.core_dram_gbps = machine.all_dram_gbps = 1;
  kernels::Buffer<float> data(1 << 16);
  const auto work = [&] {
    for (float& x : data) x += 1;
  };
  const std::vector<Result> results =
      Measure({{.variant = "all", .work = work, .baseline = "part"}, {.variant = "part", .work = work, .part = 1e-3}},
              3, machine);
  // A thousand times the same: far beyond what any machine does to one of the two.
  EXPECT_GT(results[0].speedup, 10);
  EXPECT_EQ(results[0].baseline, "part");
  EXPECT_EQ(results[0].baseline_time.median, results[1].time.median);
}

TEST(InputsTest, TheSameWhateverTheThreads) {
  kernels::ThreadPool one(1), three(3);
  const kernels::Buffer<float> a = RandomNormals(40000, 5, one, 0.5), b = RandomNormals(40000, 5, three, 0.5);
  int zeros = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i], b[i]) << i;
    zeros += a[i] == 0;
  }
  EXPECT_NEAR(zeros, 20000, 600);  // six standard deviations
}

TEST(InputsTest, WeightsAndActivationsHaveTheDensityAskedFor) {
  kernels::ThreadPool pool(2);
  const SparseWeights w = RandomWeights(30, 50, 0.1, 1, pool);
  EXPECT_EQ(w.rows.nnz(), 150);
  EXPECT_EQ(w.columns.nnz(), 150);
  EXPECT_EQ(w.columns.view().rows, 50);
  const Activations x = RandomActivations(20, 2, 5, 1, pool);
  int64_t nonzero = 0;
  for (const float value : x.values.span()) nonzero += value != 0;
  EXPECT_EQ(nonzero, 5 * 128);
}

}  // namespace
}  // namespace filigree::bench
