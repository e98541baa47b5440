// What the benchmarks among ranks promise whatever the machine does meanwhile: keys, bytes, messages.

#include "worker/bench/ranks.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "tests/support/ranks.h"
#include "worker/exchange/local_matrices.h"
#include "worker/exchange/rank_search.h"

namespace filigree::bench {
namespace {

using nlohmann::json;

template <typename Sizes>
std::map<std::string, json> Lines(absl::StatusOr<RankReport> (*run)(const Sizes&, const Common&, comm::Communicator&),
                                  const Sizes& sizes, int ranks, int repeats = 2) {
  std::map<std::string, json> lines;
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator communicator(std::move(transport), {});
    const absl::StatusOr<RankReport> report = run(sizes, {.threads = 1, .repeats = repeats}, communicator);
    ASSERT_TRUE(report.ok()) << report.status();
    if (communicator.rank() != 0) return;
    EXPECT_FALSE(FormatTable(*report).empty());
    std::istringstream in(FormatJson(*report));
    for (std::string text; std::getline(in, text);) {
      const json line = json::parse(text);
      for (const char* key : {"bench", "variant", "ranks", "hosts", "backend", "threads", "repeats", "median_ms",
                              "min_ms", "sent_bytes", "total_bytes", "gbps", "cpu"}) {
        EXPECT_TRUE(line.contains(key)) << key << " of " << text;
      }
      EXPECT_EQ(line["ranks"], ranks);
      EXPECT_LE(line["sent_bytes"], line["total_bytes"]);
      lines[line["variant"]] = line;
    }
  });
  return lines;
}

TEST(RunExchange, CountsTheBytesThatHeadersPromise) {
  constexpr ExchangeSizes kSizes{.d_model = 64,
                                 .layers = 1,
                                 .vocab = 128,
                                 .context = 32,
                                 .density = 1.0 / 16,
                                 .embedding_density = 1.0 / 16,
                                 .tokens = 64};
  for (const int ranks : {2, 3}) {
    const std::map<std::string, json> lines = Lines(RunExchange, kSizes, ranks);
    const double P = ranks;
    const auto sent = [&](const char* variant) { return lines.at(variant)["sent_bytes"].get<double>(); };
    const double parameters = lines.at("dense_allreduce")["parameters"];
    // Tensors begin on cache lines, and the sums of three ranks have no ring's amount to the byte.
    EXPECT_NEAR(sent("dense_allreduce"), 2 * (P - 1) / P * 4 * parameters, 0.02 * 4 * parameters);
    const double values = lines.at("sparsified_bf16")["values"];
    EXPECT_NEAR(sent("sparsified_bf16"), 2 * (P - 1) / P * 2 * values, 2 * P * 16 * 2);
    EXPECT_LT(sent("tree_bf16"), sent("tree_fp32") / 2 + 200);
    EXPECT_LT(sent("tree_fp32"), sent("dense_allreduce") / 2);
    EXPECT_EQ(sent("link_latency"), 4 * (P - 1));
    EXPECT_EQ(lines.at("link_latency")["total_bytes"], ranks * 4 * (ranks - 1));
    EXPECT_NEAR(lines.at("tree_bf16")["fewer_than_dense"].get<double>(), sent("dense_allreduce") / sent("tree_bf16"),
                1e-9 * sent("dense_allreduce"));
  }
}

// Matrices of which masks keep 1 in 64, bf16 on the wire: a seventh of the bytes would be free, 3.5 times fewer are
// due.
TEST(RunExchange, OfTheExactRegimeSendsAThirdOfADenseAllReduceAtMost) {
  constexpr ExchangeSizes kSizes{.d_model = 128,
                                 .layers = 2,
                                 .vocab = 256,
                                 .context = 32,
                                 .density = 1.0 / 64,
                                 .embedding_density = 1.0 / 64,
                                 .tokens = 64};
  for (const int ranks : {2, 4}) {
    const std::map<std::string, json> lines = Lines(RunExchange, kSizes, ranks);
    const auto fewer = [&](const char* variant) { return lines.at(variant)["fewer_than_dense"].get<double>(); };
    EXPECT_GE(fewer("exact_owners_bf16"), 3.5) << ranks << " ranks";
    EXPECT_GE(fewer("exact_owners_fp32"), 1.75) << ranks << " ranks";
    EXPECT_GE(fewer("exact_tree_fp32"), 0.95) << ranks << " ranks";
  }
}

// Weights of a run: finite and hardly ever two alike, also after many steps, so that no round goes to ties.
TEST(RunMask, SendsBytesThatDoNotGrowWithTheMatrix) {
  // Units keep a quarter of k: the rest is searched for.
  constexpr MaskSizes kSizes{.rows = 512, .cols = 64, .density = 1.0 / 16, .min_alive = 1, .halvings = 2};
  const std::map<std::string, json> lines = Lines(RunMask, kSizes, 2, /*repeats=*/20);
  ASSERT_EQ(lines.size(), 9);
  int64_t counts = 0;
  for (const int64_t round : exchange::CountsOfSearch(exchange::kMagnitudes)) counts += round;
  for (const std::string size : {"512x64", "256x64", "128x64"}) {
    const int64_t cold = lines.at("cold_" + size)["sent_bytes"], warm = lines.at("warm_" + size)["sent_bytes"];
    EXPECT_EQ(cold, counts * 4) << size;  // half of them to the other rank, and half of the sums
    EXPECT_LE(warm, 6 << 10) << size;
  }
  EXPECT_EQ(lines.at("gather_and_select_512x64")["sent_bytes"], 256 * 64 * 4);
}

TEST(RunExchange, NamesTheFlagThatIsOutOfRange) {
  testing_support::RunRanks(1, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator communicator(std::move(transport), {});
    const auto report = RunExchange({.density = 2}, {.threads = 1, .repeats = 1}, communicator);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(report.status().message()).find("--density"), std::string::npos) << report.status();
    const auto mask = RunMask({.rows = 1, .halvings = 0}, {.threads = 1, .repeats = 0}, communicator);
    EXPECT_NE(std::string(mask.status().message()).find("repeats"), std::string::npos) << mask.status();
  });
}

}  // namespace
}  // namespace filigree::bench
