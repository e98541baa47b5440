// Sums of squares of channels: the reference against double, SIMD against the reference bit for bit.

#include "kernels/sddmm/channel_squares.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

class ChannelSquaresTest : public testing::TestWithParam<int> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }
};

TEST_P(ChannelSquaresTest, SumsWhatThereIsOnTopOfWhatWas) {
  const int channels = GetParam();
  testing_support::Rng rng(/*seed=*/17 + channels);
  testing_support::OwnedTile x(channels);
  for (int c = 0; c < channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) x.tile().at(c, t) = rng.Normal() * std::ldexp(1.0f, c % 7 - 3);
  }
  std::vector<double> plain(channels, 0.25), expected = plain;
  for (int c = 0; c < channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) plain[c] += double{x.tile().at(c, t)} * x.tile().at(c, t);
  }
  ref::AddChannelSquares(x.tile(), expected.data());
  for (int c = 0; c < channels; ++c) {
    // Four fused steps and four levels of a tree of positive numbers.
    EXPECT_NEAR(expected[c], plain[c], 8 * 0x1p-24 * plain[c]) << "channel " << c;
  }
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    std::vector<double> sums(channels, 0.25);
    AddChannelSquares(x.tile(), sums.data());
    EXPECT_EQ(sums, expected) << (avx2 ? "AVX2" : "best");
  }
}

INSTANTIATE_TEST_SUITE_P(Channels, ChannelSquaresTest, testing::Values(1, 2, 15, 16, 17, 64, 193));

}  // namespace
}  // namespace filigree::kernels
