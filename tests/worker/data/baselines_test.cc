#include "worker/data/baselines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/data/temp_folder.h"
#include "worker/data/corpus.h"
#include "worker/data/shard_writer.h"

namespace filigree::data {
namespace {

TokenStream Write(const TempFolder& folder, const std::string& name, const std::vector<uint16_t>& tokens) {
  ShardWriter writer(folder.path(), name, 1000);  // pairs cross shards
  EXPECT_TRUE(writer.Append(tokens).ok());
  std::vector<std::string> paths;
  const std::vector<FileEntry> shards = writer.Finish().value();
  paths.reserve(shards.size());
  for (const FileEntry& shard : shards) paths.push_back(folder / shard.name);
  return TokenStream::Open(paths).value();
}

// A Markov chain: token t is followed by t + 1 or t + 2 mostly, sometimes by anything.
std::vector<uint16_t> Chain(uint64_t seed, int length, int vocab) {
  std::mt19937_64 rng(seed);
  std::vector<uint16_t> tokens = {0};
  while (static_cast<int>(tokens.size()) < length) {
    const uint64_t step = rng() % 10 == 0 ? rng() : 1 + rng() % 2;
    tokens.push_back(static_cast<uint16_t>((tokens.back() + step) % static_cast<uint64_t>(vocab)));
  }
  return tokens;
}

// The formula of the header, over maps.
class Definition {
 public:
  Definition(const std::vector<uint16_t>& tokens, int vocab) : vocab_(vocab) {
    for (size_t i = 0; i + 1 < tokens.size(); ++i) ++pairs_[{tokens[i], tokens[i + 1]}];
    for (const auto& [pair, count] : pairs_) before_[pair.second].insert(pair.first);
    double once = 0, twice = 0;
    for (const auto& [pair, count] : pairs_) {
      once += count == 1;
      twice += count == 2;
    }
    d2_ = once > 0 ? once / (once + 2 * twice) : 0.5;
    once = twice = 0;
    for (const auto& [token, others] : before_) {
      once += others.size() == 1;
      twice += others.size() == 2;
    }
    d1_ = once > 0 ? once / (once + 2 * twice) : 0.5;
  }

  double Probability(int v, int w) const {
    const double kinds = static_cast<double>(pairs_.size());
    const double others = before_.contains(w) ? static_cast<double>(before_.at(w).size()) : 0;
    const double q = std::max(others - d1_, 0.0) / kinds + d1_ * static_cast<double>(before_.size()) / kinds / vocab_;
    double all = 0, successors = 0;
    for (const auto& [pair, count] : pairs_) {
      if (pair.first != v) continue;
      all += count;
      ++successors;
    }
    if (all == 0) return q;
    const double count = pairs_.contains({v, w}) ? pairs_.at({v, w}) : 0;
    return std::max(count - d2_, 0.0) / all + d2_ * successors / all * q;
  }

 private:
  int vocab_;
  std::map<std::pair<int, int>, double> pairs_;
  std::map<int, std::set<int>> before_;
  double d1_ = 0, d2_ = 0;
};

TEST(KneserNeyTest, IsTheFormula) {
  const TempFolder folder;
  const std::vector<uint16_t> tokens = Chain(1, 3000, 40);
  const TokenStream train = Write(folder, "train", tokens);
  const KneserNeyBigram model(train, 45);
  const Definition definition(tokens, 45);
  for (uint16_t v = 0; v < 45; ++v) {
    for (uint16_t w = 0; w < 45; ++w) {
      ASSERT_NEAR(model.Probability(v, w), definition.Probability(v, w), 1e-12) << v << " " << w;
    }
  }
}

TEST(KneserNeyTest, ProbabilitiesArePositiveAndSumToOne) {
  const TempFolder folder;
  // Tokens 40 to 49 never occur; also texts so short that counts of counts are zero.
  for (const int length : {1, 2, 3, 50, 20000}) {
    const KneserNeyBigram model(Write(folder, "train", Chain(2, length, 40)), 50);
    for (uint16_t v = 0; v < 50; ++v) {
      double sum = 0;
      for (uint16_t w = 0; w < 50; ++w) {
        ASSERT_GT(model.Probability(v, w), 0) << length << " " << v << " " << w;
        sum += model.Probability(v, w);
      }
      ASSERT_NEAR(sum, 1, 1e-12) << length << " " << v;
    }
  }
}

TEST(BaselinesTest, BigramBeatsUnigramBeatsUniformWhereThereIsSomethingToLearn) {
  const TempFolder folder;
  const TokenStream train = Write(folder, "train", Chain(3, 30000, 30)), val = Write(folder, "val", Chain(4, 5000, 30));
  const Baselines b = MeasureBaselines(train, val, 200, 3.0);
  EXPECT_NEAR(b.uniform_nats, std::log(200.0), 1e-12);
  EXPECT_LT(b.unigram_nats, b.uniform_nats - 1) << "30 of 200 tokens occur";
  EXPECT_LT(b.bigram_nats, b.unigram_nats - 1);
  // Steps of 1 and 2 have probability 0.9 / 2 + 0.1 / 30, each other 0.1 / 30: no model can do better.
  const double likely = 0.45 + 0.1 / 30, rare = 0.1 / 30;
  const double entropy = -2 * likely * std::log(likely) - 28 * rare * std::log(rare);
  EXPECT_GT(b.bigram_nats, entropy - 0.06) << "sd of a mean of 5000 is about 0.02";
  EXPECT_LT(b.bigram_nats, entropy + 0.1);
  EXPECT_NEAR(b.bigram_bits_per_byte, b.bigram_nats / std::numbers::ln2 / 3, 1e-12);
  EXPECT_NEAR(b.unigram_bits_per_byte, b.unigram_nats / std::numbers::ln2 / 3, 1e-12);
}

TEST(BaselinesTest, UnigramIsAddOne) {
  const TempFolder folder;
  const TokenStream train = Write(folder, "train", {1, 1, 1, 2}), val = Write(folder, "val", {0, 1, 2, 3});
  // Predicted: 1 (count 3), 2 (count 1), 3 (count 0); N + V = 4 + 5.
  const double expected = -(std::log(4 / 9.0) + std::log(2 / 9.0) + std::log(1 / 9.0)) / 3;
  EXPECT_NEAR(MeasureBaselines(train, val, 5, 1).unigram_nats, expected, 1e-12);
}

TEST(BaselinesTest, OneTokenHasNoneToPredict) {
  const TempFolder folder;
  const TokenStream one = Write(folder, "one", {3});
  EXPECT_EQ(MeasureBaselines(one, one, 10, 1).bigram_nats, 0);
}

}  // namespace
}  // namespace filigree::data
