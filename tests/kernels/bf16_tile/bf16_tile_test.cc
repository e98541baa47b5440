#include "kernels/bf16_tile/bf16_tile.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/buffer.h"
#include "kernels/base/simd.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr uint64_t kSeed = 41;

// A tile as bf16 that owns its words.
struct OwnedBf16 {
  explicit OwnedBf16(int channels) : words(static_cast<size_t>(channels) * kBf16RowWords), channels(channels) {}
  Bf16Tile tile() { return {words.data(), channels}; }
  Buffer<uint32_t> words;
  int channels;
};

bool SameWords(const OwnedBf16& a, const OwnedBf16& b) {
  return std::memcmp(a.words.data(), b.words.data(), a.words.size() * sizeof(uint32_t)) == 0;
}

float FromBits(uint64_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }

// Values around every kind of edge: all bit patterns, ties of rounding and their neighbours, subnormals, the largest.
float Edge(Rng& rng) {
  switch (rng.Below(6)) {
    case 0:
      return FromBits(rng.Below(uint64_t{1} << 32));
    case 1:
      return FromBits(rng.Below(1 << 16) << 16 | (0x7fff + rng.Below(3)));
    case 2:
      return rng.Normal() * 1e-40f;
    case 3:
      return FromBits(0x7f7f0000 + rng.Below(1 << 17)) * (rng.Below(2) ? 1.0f : -1.0f);
    case 4:
      return rng.Below(2) ? 0.0f : -0.0f;
    default:
      return rng.Normal();
  }
}

OwnedTile Edges(int channels, uint64_t seed) {
  Rng rng(seed);
  OwnedTile x(channels);
  x.Fill([&] { return Edge(rng); });
  return x;
}

// The definition, in double: no number of the format is nearer, and of two as near ones it is the even one.
void ExpectNearest(float x, float y) {
  if (std::isnan(x)) {
    ASSERT_EQ(std::bit_cast<uint32_t>(y), std::signbit(x) ? 0xffc00000u : 0x7fc00000u);
    return;
  }
  const auto bits = std::bit_cast<uint32_t>(y);
  ASSERT_EQ(bits & 0xffff, 0u) << x;
  ASSERT_EQ(std::signbit(x), std::signbit(y)) << x;
  constexpr double kLargest = 0x1.fep127, kStep = 0x1p120;
  if (std::isinf(y)) {
    ASSERT_GE(std::abs(double{x}), kLargest + kStep / 2) << x;
    return;
  }
  const double error = std::abs(double{x} - y);
  ASSERT_LE(error, std::max(std::ldexp(std::abs(double{x}), -8), 0x1p-134)) << x;
  for (const uint32_t other : {bits + 0x10000, bits - 0x10000}) {
    if ((bits & 0x7fffffff) == 0 && other == bits - 0x10000) continue;
    const double neighbour = std::isinf(FromBits(other)) ? std::copysign(kLargest + kStep, x) : double{FromBits(other)};
    const double other_error = std::abs(double{x} - neighbour);
    ASSERT_LE(error, other_error) << x;
    if (error == other_error) {
      ASSERT_EQ(bits >> 16 & 1, 0u) << "a tie goes to the even one: " << x;
    }
  }
}

TEST(Bf16Tile, RoundsToTheNearestNumberByDefinition) {
  constexpr int kChannels = 1500;
  const OwnedTile x = Edges(kChannels, kSeed);
  OwnedTile y = Edges(kChannels, kSeed);
  ref::RoundToBf16(y, {});
  for (int c = 0; c < kChannels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) ASSERT_NO_FATAL_FAILURE(ExpectNearest(x.at(c, t), y.at(c, t)));
  }
}

TEST(Bf16Tile, BothTargetsHaveTheBitsOfTheReference) {
  for (const int channels : {1, 2, 7, 64, 300}) {
    OwnedTile expected = Edges(channels, kSeed + channels);
    OwnedBf16 expected_kept(channels);
    ref::RoundToBf16(expected, expected_kept.tile());
    OwnedTile expected_wide(channels);
    ref::WidenBf16(expected_kept.tile(), expected_wide);
    EXPECT_TRUE(BitwiseEqual(expected_wide, expected));
    const auto check = [&] {
      OwnedTile x = Edges(channels, kSeed + channels), alone = Edges(channels, kSeed + channels), wide(channels);
      OwnedBf16 kept(channels);
      RoundToBf16(x, kept.tile());
      RoundToBf16(alone, {});
      EXPECT_TRUE(BitwiseEqual(x, expected)) << SimdTargetName() << ", " << channels;
      EXPECT_TRUE(BitwiseEqual(alone, expected)) << SimdTargetName() << ", " << channels;
      EXPECT_TRUE(SameWords(kept, expected_kept)) << SimdTargetName() << ", " << channels;
      WidenBf16(kept.tile(), wide);
      EXPECT_TRUE(BitwiseEqual(wide, expected)) << SimdTargetName() << ", " << channels;
    };
    check();
    const Avx2Only avx2;
    check();
  }
}

TEST(Bf16Tile, RoundingAgainChangesNothing) {
  OwnedTile once = Edges(200, kSeed), twice = Edges(200, kSeed);
  OwnedBf16 first(200), second(200);
  RoundToBf16(once, first.tile());
  RoundToBf16(twice, {});
  RoundToBf16(twice, second.tile());
  EXPECT_TRUE(BitwiseEqual(once, twice));
  EXPECT_TRUE(SameWords(first, second));
}

TEST(Bf16Tile, EveryTokenHasAPlaceOfItsOwn) {
  OwnedBf16 kept(3);
  OwnedTile x(3);
  for (int t = 0; t < kTileTokens; ++t) {
    for (int c = 0; c < 3; ++c) x.at(c, t) = static_cast<float>(c * kTileTokens + t);  // below 256: exact
  }
  RoundToBf16(x, kept.tile());
  for (int t = 0; t < kTileTokens; ++t) {
    for (int c = 0; c < 3; ++c) ASSERT_EQ(kept.tile().at(c, t), static_cast<float>(c * kTileTokens + t));
  }
  // A run of rows is a tile, and the others stay as they are.
  OwnedTile one(1);
  RoundToBf16(one, kept.tile().rows(1, 1));
  EXPECT_EQ(kept.tile().at(0, 63), 63.0f);
  EXPECT_EQ(kept.tile().at(1, 0), 0.0f);
  EXPECT_EQ(kept.tile().at(2, 0), 128.0f);
}

}  // namespace
}  // namespace filigree::kernels
