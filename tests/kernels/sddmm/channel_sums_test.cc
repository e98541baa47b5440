// Gradients of biases: the reference against double, SIMD against the reference bit for bit.

#include "kernels/sddmm/channel_sums.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

class ChannelSumsTest : public testing::TestWithParam<int> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }
};

TEST_P(ChannelSumsTest, SumsWhatThereIsOnTopOfWhatWas) {
  const int channels = GetParam();
  testing_support::Rng rng(/*seed=*/29 + channels);
  testing_support::OwnedTile dy(channels);
  for (int c = 0; c < channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) dy.tile().at(c, t) = rng.Normal() * std::ldexp(1.0f, c % 7 - 3);
  }
  constexpr float kBefore = 0.25f;
  std::vector<float> expected(channels, kBefore);
  ref::AddChannelSums(dy.tile(), expected.data());
  for (int c = 0; c < channels; ++c) {
    double sum = kBefore, magnitude = kBefore;
    for (int t = 0; t < kTileTokens; ++t) {
      sum += dy.tile().at(c, t);
      magnitude += std::abs(dy.tile().at(c, t));
    }
    // Three additions in a lane, four levels of the tree, the last one.
    EXPECT_NEAR(expected[c], sum, 1.01 * 0x1p-24 * 8 * magnitude) << "channel " << c;
  }
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    std::vector<float> sums(channels, kBefore);
    AddChannelSums(dy.tile(), sums.data());
    EXPECT_EQ(sums, expected) << (avx2 ? "AVX2" : "best");
  }
}

INSTANTIATE_TEST_SUITE_P(Channels, ChannelSumsTest, testing::Values(1, 2, 7, 8, 9, 15, 16, 17, 64, 193));

}  // namespace
}  // namespace filigree::kernels
