// How newcomers are drawn: shares of rows, places of a line, the ranking of the oracle. Distributions are tested by
// chi-square; a correct program fails such a test for one seed in a million, and the seeds are fixed.

#include "worker/mask/newcomers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/tiles.h"
#include "tests/worker/mask/chi_square.h"

namespace filigree::mask {
namespace {

using testing_support::Rng;

constexpr uint64_t kSeed = 7, kStream = 3;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t BitsSet(const std::vector<uint64_t>& bits) {
  int64_t count = 0;
  for (const uint64_t word : bits) count += std::popcount(word);
  return count;
}

TEST(Draws, NoTwoAreTheSame) {
  std::set<uint64_t> seen;
  size_t count = 0;
  for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{10}, int64_t{1} << 24, (int64_t{1} << 24) + 1}) {
    const Draws draws(kSeed, kStream, step);
    for (const uint64_t line :
         {Draws::Row(0), Draws::Row(1), Draws::Row(65535), Draws::ShortColumn(0), Draws::ShortColumn(65535),
          Draws::ShortRow(0), Draws::ShortRow(65535), Draws::kShares}) {
      uint64_t bits[70];
      draws.Bits(line, 0, 70, bits);
      seen.insert(bits, bits + 70);
      draws.Bits(line, Draws::kMost - 1, 1, bits);
      seen.insert(bits[0]);
      count += 71;
    }
  }
  EXPECT_EQ(seen.size(), count);
}

TEST(Sampler, OnePlaceFollowsTheWeights) {
  // Two places cannot be drawn, four are no weights at all.
  const std::vector<float> weight = {3, 0, 1, kNan, 0.5f, kInfinity, 7, -2, 1e-3f, 0, 2.5f};
  const Sampler sampler(weight.data(), static_cast<int>(weight.size()));
  std::vector<double> probability(weight.size());
  for (const int i : {0, 2, 4, 6, 8, 10}) probability[i] = weight[i] / sampler.total();
  EXPECT_DOUBLE_EQ(std::accumulate(probability.begin(), probability.end(), 0.0), 1.0);
  for (const double free_share : {1.0, 0.0}) {  // by rejection, and in one go
    std::vector<int64_t> seen(weight.size());
    for (int trial = 0; trial < 50000; ++trial) {
      uint64_t taken = 0;
      const Draws draws(kSeed, kStream, trial);
      DrawReader reader(draws, Draws::Row(5));
      sampler.Take(draws, Draws::Row(5), reader, 1, free_share, &taken);
      ASSERT_EQ(std::popcount(taken), 1);
      ++seen[std::countr_zero(taken)];
    }
    EXPECT_LT(ChiSquare(seen, probability), ChiSquareBound(5)) << "free share " << free_share;
  }
}

// Two of three places, and a fourth that is taken: once light, so that it is passed over, once so heavy that nearly
// every draw hits it.
TEST(Sampler, SeveralPlacesAreDrawnOneAfterTheOther) {
  const double w[] = {1, 2, 4}, total = 7;
  const auto both = [&](int a, int b) {
    return w[a] / total * w[b] / (total - w[a]) + w[b] / total * w[a] / (total - w[b]);
  };
  const std::vector<double> probability = {both(1, 2), both(0, 2), both(0, 1)};  // by the place left out
  for (const auto& [blocked, scale] : {std::pair{1.0f, 1.0f}, {1e9f, 1.0f}, {3e38f, 1e-5f}}) {
    const std::vector<float> weight = {1 * scale, 2 * scale, 4 * scale, blocked};
    const Sampler sampler(weight.data(), 4);
    std::vector<int64_t> seen(3);
    for (int trial = 0; trial < 30000; ++trial) {
      uint64_t taken = 8;
      sampler.Take(Draws(kSeed, kStream, trial), Draws::Row(0), 2, &taken);
      ASSERT_EQ(std::popcount(taken), 3);
      ++seen[std::countr_zero(~taken)];
    }
    EXPECT_LT(ChiSquare(seen, probability), ChiSquareBound(2)) << "blocked weight " << blocked;
  }
}

TEST(Sampler, AllAlikeWithoutWeights) {
  const std::vector<float> nothing = {0, -1, kNan, 0, 0};
  for (const float* weight : {static_cast<const float*>(nullptr), nothing.data()}) {
    const Sampler sampler(weight, 5);
    std::vector<int64_t> seen(5);
    for (int trial = 0; trial < 20000; ++trial) {
      uint64_t taken = 0;
      sampler.Take(Draws(kSeed + 1, kStream, trial), Draws::Row(0), 1, &taken);
      ++seen[std::countr_zero(taken)];
    }
    EXPECT_LT(ChiSquare(seen, std::vector<double>(5, 0.2)), ChiSquareBound(4));
  }
}

TEST(Sampler, TakesExactlySoMany) {
  Rng rng(kSeed);
  for (const int n : {1, 63, 64, 65, 700, 65536}) {
    std::vector<float> weight(n);
    for (float& x : weight) x = rng.Below(3) ? std::exp(3 * rng.Normal()) : 0;
    const Sampler sampler(weight.data(), n);
    for (int trial = 0; trial < (n > 1000 ? 4 : 50); ++trial) {
      std::vector<uint64_t> taken((n + 63) / 64);
      for (int i = 0; i < n; ++i) {
        if (rng.Below(3) == 0) kernels::Keep(i, taken.data());
      }
      const int64_t had = BitsSet(taken), count = static_cast<int64_t>(rng.Below(n - had + 1));
      const std::vector<uint64_t> before = taken;
      const Draws draws(kSeed, kStream, trial);
      DrawReader reader(draws, Draws::Row(7));
      sampler.Take(draws, Draws::Row(7), reader, count, /*free_share=*/trial % 2, taken.data());
      ASSERT_EQ(BitsSet(taken), had + count) << n;
      for (size_t word = 0; word < taken.size(); ++word) ASSERT_EQ(taken[word] & before[word], before[word]);
      if (n % 64 != 0) {
        ASSERT_EQ(taken.back() >> (n % 64), 0) << "past the end of " << n;
      }
    }
  }
}

// A place without weight comes only when the others are gone.
TEST(Sampler, WeightlessPlacesComeLast) {
  const std::vector<float> weight = {0, 1, 0, 5, 1e-20f, 0};
  const Sampler sampler(weight.data(), 6);
  for (int trial = 0; trial < 300; ++trial) {
    uint64_t three = 0, five = 0;
    sampler.Take(Draws(kSeed, kStream, trial), Draws::Row(0), 3, &three);
    EXPECT_EQ(three, 0b011010);
    sampler.Take(Draws(kSeed, kStream, trial), Draws::Row(0), 5, &five);
    EXPECT_EQ(five & 0b011010, 0b011010);
    EXPECT_EQ(std::popcount(five), 5);
  }
}

TEST(ShareOut, IsWithinOneOfTheShareWhereThereIsRoom) {
  Rng rng(kSeed);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<double> weight(1 + rng.Below(200));
    for (double& x : weight) x = rng.Below(4) ? rng.Uniform() : 0;
    weight[0] = 1;
    const std::vector<int32_t> room(weight.size(), 100000);
    const auto count = static_cast<int64_t>(rng.Below(5000));
    const std::vector<int32_t> shares = ShareOut(weight, room, count, Draws(kSeed, kStream, trial));
    const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), count);
    for (size_t r = 0; r < weight.size(); ++r) {
      ASSERT_LT(std::abs(shares[r] - weight[r] / total * static_cast<double>(count)), 1 + 1e-6) << r;
    }
  }
}

TEST(ShareOut, OneGoesWhereTheWeightsSay) {
  const std::vector<double> weight = {1, 0, 4, 2, 2.5};
  const std::vector<int32_t> room(5, 1);
  std::vector<int64_t> seen(5);
  for (int trial = 0; trial < 30000; ++trial) {
    const std::vector<int32_t> shares = ShareOut(weight, room, 1, Draws(kSeed, kStream, trial));
    ++seen[std::max_element(shares.begin(), shares.end()) - shares.begin()];
  }
  EXPECT_LT(ChiSquare(seen, {1 / 9.5, 0, 4 / 9.5, 2 / 9.5, 2.5 / 9.5}), ChiSquareBound(3));
}

TEST(ShareOut, MeetsTheCountWhateverTheWeights) {
  Rng rng(kSeed);
  const std::vector<std::vector<double>> weights = {
      {0, 0, 0, 0, 0},   {kNan, 1, kNan, 0, 2},       {kInfinity, 1, 1, 1, 1},
      {-1, -2, 0, 0, 1}, {1e308, 1e308, 1e308, 1, 1}, {1e-300, 1e-308, 0, 0, 1e300},
      {1, 1, 1, 1, 1},
  };
  for (const std::vector<double>& weight : weights) {
    for (int trial = 0; trial < 200; ++trial) {
      std::vector<int32_t> room(weight.size());
      for (int32_t& x : room) x = rng.Below(3) ? static_cast<int32_t>(rng.Below(50)) : 0;
      const auto all = std::accumulate(room.begin(), room.end(), int64_t{0});
      const int64_t count = trial % 3 == 0 ? all : static_cast<int64_t>(rng.Below(all + 1));
      const std::vector<int32_t> shares = ShareOut(weight, room, count, Draws(kSeed, kStream, trial));
      ASSERT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), count);
      for (size_t r = 0; r < room.size(); ++r) ASSERT_TRUE(0 <= shares[r] && shares[r] <= room[r]) << r;
    }
  }
}

// Rows that are full hand on to the others in proportion, not to all alike.
TEST(ShareOut, WhatDoesNotFitGoesToTheOthersInProportion) {
  const std::vector<double> weight = {1000, 1, 3, 0};
  const std::vector<int32_t> room = {10, 1000, 1000, 1000};
  const std::vector<int32_t> shares = ShareOut(weight, room, 410, Draws(kSeed, kStream, 0));
  EXPECT_EQ(shares[0], 10);
  EXPECT_NEAR(shares[1], 100, 2);
  EXPECT_NEAR(shares[2], 300, 2);
  EXPECT_EQ(shares[3], 0);
}

TEST(RankByMagnitude, IsTheSortedOrder) {
  Rng rng(kSeed);
  kernels::ThreadPool pool(2);
  for (const int numel : {1, 64, 999}) {
    std::vector<float> score(numel);
    for (float& x : score) x = rng.Below(20) ? std::round(rng.Normal() * 8) : kNan;
    std::vector<uint32_t> order(numel);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return kernels::MagnitudeBits(score[a]) > kernels::MagnitudeBits(score[b]);
    });
    for (const int count : {0, 1, numel / 3, numel}) {
      EXPECT_EQ(RankByMagnitude(score.data(), numel, count, pool),
                std::vector<uint32_t>(order.begin(), order.begin() + count));
    }
  }
}

}  // namespace
}  // namespace filigree::mask
