// Votes against the gradient they stand for: within six standard deviations of a sampled sum, which a correct program
// leaves less than once in a million times; the seeds are fixed.

#include "worker/mask/wedge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/tiles.h"

namespace filigree::mask {
namespace {

using kernels::ConstTile;
using kernels::kTileTokens;
using kernels::ThreadPool;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr uint64_t kSeed = 23;

struct Layer {
  Layer(int out, int in, int tiles, Rng& rng) : out(out), in(in) {
    for (int i = 0; i < tiles; ++i) {
      x.emplace_back(in).Fill([&] { return rng.Below(3) ? 0.0f : rng.Normal(); });
      // Tokens differ a lot in how much gradient they have.
      int at = 0;
      dy.emplace_back(out).Fill([&] { return rng.Normal() * std::exp(static_cast<float>(at++ % kTileTokens) / 16); });
    }
    Refer();
  }

  void Refer() {
    x_tiles.clear();
    dy_tiles.clear();
    for (const OwnedTile& tile : x) x_tiles.push_back(tile);
    for (const OwnedTile& tile : dy) dy_tiles.push_back(tile);
  }

  WedgeBatch Batch(int64_t samples, int64_t step) const { return {x_tiles, dy_tiles, samples, kSeed, 4, step}; }

  // The gradient, or the sum of its addends' magnitudes.
  std::vector<double> Gradient(bool of_magnitudes) const {
    std::vector<double> g(static_cast<size_t>(out) * in);
    for (size_t tile = 0; tile < x.size(); ++tile) {
      for (int o = 0; o < out; ++o) {
        for (int i = 0; i < in; ++i) {
          for (int t = 0; t < kTileTokens; ++t) {
            const double product = static_cast<double>(dy[tile].at(o, t)) * x[tile].at(i, t);
            g[static_cast<size_t>(o) * in + i] += of_magnitudes ? std::abs(product) : product;
          }
        }
      }
    }
    return g;
  }

  int out, in;
  std::vector<OwnedTile> x, dy;
  std::vector<ConstTile> x_tiles, dy_tiles;
};

std::vector<double> Dense(const WedgeVotes& votes, size_t numel) {
  std::vector<double> dense(numel);
  for (const WedgeVotes::Sum& sum : votes.Sums()) dense[sum.position] = sum.sum;
  return dense;
}

TEST(WedgeVotes, SumToTheGradient) {
  Rng rng(kSeed);
  const Layer layer(7, 11, 3, rng);
  ThreadPool pool(2);
  WedgeVotes votes(7, 11);
  constexpr int64_t kSamples = 400000;
  votes.Add(layer.Batch(kSamples, 1), pool);
  const std::vector<double> got = Dense(votes, 77), gradient = layer.Gradient(false), size = layer.Gradient(true);
  double total = 0;
  for (const double s : size) total += s;
  for (size_t i = 0; i < got.size(); ++i) {
    const double deviation = std::sqrt(total * size[i] / kSamples);  // of a sum of votes, at most
    EXPECT_NEAR(got[i], gradient[i], 6 * deviation + 10 * total / kSamples) << i;
    EXPECT_LT(6 * deviation, 0.2 * std::sqrt(total * total / 77 / 77)) << "the test says something";
  }
}

TEST(WedgeVotes, SeveralStepsAddUp) {
  Rng rng(kSeed + 1);
  const Layer one(3, 5, 1, rng), two(3, 5, 2, rng);
  ThreadPool pool(1);
  WedgeVotes first(3, 5), second(3, 5), both(3, 5);
  first.Add(one.Batch(1000, 1), pool);
  second.Add(two.Batch(5000, 2), pool);
  both.Add(one.Batch(1000, 1), pool);
  both.Add(two.Batch(5000, 2), pool);
  const std::vector<double> a = Dense(first, 15), b = Dense(second, 15), sum = Dense(both, 15);
  for (int i = 0; i < 15; ++i) EXPECT_NEAR(sum[i], a[i] + b[i], 1e-9 * (std::abs(a[i]) + std::abs(b[i]) + 1)) << i;
  both.Clear();
  EXPECT_TRUE(both.Sums().empty());
}

TEST(WedgeVotes, BestAreTheLargestSums) {
  Rng rng(kSeed + 2);
  const Layer layer(9, 20, 2, rng);
  ThreadPool pool(2);
  WedgeVotes votes(9, 20);
  votes.Add(layer.Batch(700, 3), pool);
  std::vector<WedgeVotes::Sum> sums = votes.Sums();
  std::stable_sort(sums.begin(), sums.end(),
                   [](const auto& a, const auto& b) { return std::abs(a.sum) > std::abs(b.sum); });
  const auto nonzero = std::count_if(sums.begin(), sums.end(), [](const auto& s) { return s.sum != 0; });
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{40}, int64_t{100000}}) {
    const std::vector<uint32_t> best = votes.Best(count);
    ASSERT_EQ(static_cast<int64_t>(best.size()), std::min<int64_t>(count, nonzero));
    for (size_t i = 0; i < best.size(); ++i) EXPECT_EQ(best[i], sums[i].position) << i;
  }
}

TEST(WedgeVotes, TheSameForAnyThreads) {
  Rng rng(kSeed + 3);
  const Layer layer(33, 65, 5, rng);
  std::vector<uint32_t> one;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    WedgeVotes votes(33, 65);
    votes.Add(layer.Batch(3000, 3), pool);
    if (threads == 1) one = votes.Best(500);
    EXPECT_EQ(votes.Best(500), one) << threads;
  }
  ASSERT_EQ(one.size(), 500u);
}

TEST(WedgeVotes, OnlyTokensWithFiniteNormsVote) {
  Rng rng(kSeed + 4);
  Layer layer(4, 6, 1, rng);
  for (int t = 0; t < kTileTokens; ++t) {
    // All but token 9: no gradient, not a number, infinite.
    for (int o = 0; o < 4; ++o) layer.dy[0].at(o, t) = t % 3 == 0 && t != 9 ? 0.0f : layer.dy[0].at(o, t);
    if (t % 3 == 1) layer.dy[0].at(1, t) = std::numeric_limits<float>::quiet_NaN();
    if (t % 3 == 2) layer.x[0].at(2, t) = std::numeric_limits<float>::infinity();
  }
  for (int i = 0; i < 6; ++i) layer.x[0].at(i, 9) = i == 3 ? -2.0f : 0.0f;
  for (int o = 0; o < 4; ++o) layer.dy[0].at(o, 9) = o == 2 ? 5.0f : 0.0f;
  ThreadPool pool(1);
  WedgeVotes votes(4, 6);
  votes.Add(layer.Batch(100, 0), pool);
  const std::vector<WedgeVotes::Sum> sums = votes.Sums();
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums[0].position, 2u * 6 + 3);
  EXPECT_NEAR(sums[0].sum, -10, 1e-9);

  for (int o = 0; o < 4; ++o) layer.dy[0].at(o, 9) = 0;
  votes.Clear();
  votes.Add(layer.Batch(100, 0), pool);
  EXPECT_TRUE(votes.Best(10).empty());
}

}  // namespace
}  // namespace filigree::mask
