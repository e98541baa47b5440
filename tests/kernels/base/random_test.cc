#include "kernels/base/random.h"

#include <array>
#include <cmath>
#include <numbers>
#include <set>

#include "gtest/gtest.h"

namespace filigree::kernels {
namespace {

// Philox4x32-10 as published with Random123 (kat_vectors): counter, key, result.
struct KnownAnswer {
  std::array<uint32_t, 4> counter;
  std::array<uint32_t, 2> key;
  std::array<uint32_t, 4> result;
};
constexpr KnownAnswer kKnownAnswers[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                                         {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                                          {0xffffffff, 0xffffffff},
                                          {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                                         {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                                          {0xa4093822, 0x299f31d0},
                                          {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};

uint64_t Join(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }
double Unit(uint32_t high, uint32_t low) { return static_cast<double>(Join(low, high) >> 11) * 0x1p-53; }

TEST(CounterRng, GivesThePublishedPhiloxNumbers) {
  for (const KnownAnswer& a : kKnownAnswers) {
    const CounterRng rng(Join(a.key[0], a.key[1]), /*stream=*/Join(a.counter[2], a.counter[3]));
    const uint64_t index = Join(a.counter[0], a.counter[1]);
    EXPECT_EQ(rng.Bits(index), Join(a.result[1], a.result[0]));
    EXPECT_EQ(rng.Uniform(index), Unit(a.result[0], a.result[1]));
    // The other half of the draw shows in the angle of Box and Muller.
    const double radius = std::sqrt(-2 * std::log(1 - Unit(a.result[0], a.result[1])));
    const double angle = 2 * std::numbers::pi * Unit(a.result[2], a.result[3]);
    EXPECT_NEAR(rng.Normal(index), radius * std::cos(angle), 1e-13);
  }
}

constexpr int kDraws = 200000;

// Five standard deviations of the mean of kDraws draws.
double FiveSigma(double variance) { return 5 * std::sqrt(variance / kDraws); }

TEST(CounterRng, UniformHasItsMoments) {
  const CounterRng rng(/*seed=*/1, /*stream=*/2);
  double mean = 0, square = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Uniform(i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    mean += x / kDraws;
    square += x * x / kDraws;
  }
  EXPECT_NEAR(mean, 1.0 / 2, FiveSigma(1.0 / 12));
  EXPECT_NEAR(square, 1.0 / 3, FiveSigma(4.0 / 45));
}

TEST(CounterRng, NormalHasItsMoments) {
  const CounterRng rng(/*seed=*/3, /*stream=*/4);
  std::array<double, 5> moment = {};
  for (int i = 0; i < kDraws; ++i) {
    double power = 1;
    for (double& m : moment) {
      m += power / kDraws;
      power *= rng.Normal(i);
    }
  }
  EXPECT_NEAR(moment[1], 0, FiveSigma(1));
  EXPECT_NEAR(moment[2], 1, FiveSigma(2));
  EXPECT_NEAR(moment[3], 0, FiveSigma(15));
  EXPECT_NEAR(moment[4], 3, FiveSigma(96));
}

TEST(CounterRng, BelowIsEvenAndInside) {
  const CounterRng rng(/*seed=*/5, /*stream=*/6);
  std::array<int, 7> count = {};
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t x = rng.Below(i, 7);
    ASSERT_LT(x, 7u);
    ++count[x];
  }
  const double expected = kDraws / 7.0;
  for (const int n : count) EXPECT_NEAR(n, expected, 5 * std::sqrt(expected));
  EXPECT_EQ(rng.Below(0, 1), 0u);
  EXPECT_LT(rng.Below(1, 0xffffffffu), 0xffffffffu);
}

TEST(CounterRng, IsAFunctionOfSeedStreamAndIndex) {
  const CounterRng rng(1, 2), same(1, 2);
  EXPECT_EQ(rng.Bits(12345), same.Bits(12345));
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t stream = 0; stream < 10; ++stream) {
      for (uint64_t index = 0; index < 10; ++index) seen.insert(CounterRng(seed, stream).Bits(index));
    }
  }
  EXPECT_EQ(seen.size(), 1000u);
}

// FNV-1a, 64 bits, as published: runs must draw the same weights for ever.
TEST(StreamOf, IsFnv1a) {
  EXPECT_EQ(StreamOf(""), 0xcbf29ce484222325u);
  EXPECT_EQ(StreamOf("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(StreamOf("foobar"), 0x85944171f73967e8u);
}

}  // namespace
}  // namespace filigree::kernels
