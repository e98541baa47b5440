#include "kernels/embedding/embedding.h"

#include <array>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr int kRows = 23;

struct Drawn {
  Drawn(int channels, uint64_t seed) : x(channels), table(size_t{kRows} * channels) {
    Rng rng(seed);
    x.Fill([&] { return rng.Normal(); });
    for (float& v : table) v = rng.Normal();
    // Many tokens occur several times, the last row occurs, and one in five is padding.
    for (int32_t& t : token)
      t = rng.Below(5) == 0 ? -1 - static_cast<int32_t>(rng.Below(9)) : static_cast<int32_t>(rng.Below(kRows));
    token[17] = kRows - 1;
  }
  int channels() const { return x.tile().channels; }
  float entry(int row, int c) const { return table[static_cast<size_t>(row) * channels() + c]; }

  OwnedTile x;
  std::vector<float> table;
  std::array<int32_t, kTileTokens> token;
};

class EmbeddingOf : public testing::TestWithParam<int> {};

TEST_P(EmbeddingOf, GathersRows) {
  const Drawn before(GetParam(), /*seed=*/1);
  for (const GatherWrite mode : {GatherWrite::kOverwrite, GatherWrite::kAdd}) {
    Drawn fast(GetParam(), /*seed=*/1), plain(GetParam(), /*seed=*/1), narrow(GetParam(), /*seed=*/1);
    GatherRows(fast.table.data(), fast.token.data(), mode, fast.x);
    ref::GatherRows(plain.table.data(), plain.token.data(), mode, plain.x);
    EXPECT_TRUE(BitwiseEqual(fast.x, plain.x));
    for (int t = 0; t < kTileTokens; ++t) {
      for (int c = 0; c < GetParam(); ++c) {
        const float row = before.token[t] < 0 ? 0.0f : before.entry(before.token[t], c);
        const float old = mode == GatherWrite::kAdd ? before.x.at(c, t) : 0.0f;
        ASSERT_EQ(fast.x.at(c, t), old + row) << c << ", " << t;
      }
    }
    const Avx2Only only;
    GatherRows(narrow.table.data(), narrow.token.data(), mode, narrow.x);
    EXPECT_TRUE(BitwiseEqual(fast.x, narrow.x));
  }
}

TEST_P(EmbeddingOf, ScattersInAscendingOrder) {
  Drawn fast(GetParam(), /*seed=*/2), plain(GetParam(), /*seed=*/2), narrow(GetParam(), /*seed=*/2);
  std::vector<float> by_hand = fast.table;
  for (int t = 0; t < kTileTokens; ++t) {
    for (int c = 0; c < GetParam() && fast.token[t] >= 0; ++c) {
      by_hand[static_cast<size_t>(fast.token[t]) * GetParam() + c] += fast.x.at(c, t);
    }
  }
  ScatterAddRows(fast.x, fast.token.data(), 0, GetParam(), fast.table.data());
  ref::ScatterAddRows(plain.x, plain.token.data(), 0, GetParam(), plain.table.data());
  EXPECT_EQ(fast.table, by_hand);
  EXPECT_EQ(fast.table, plain.table);
  const Avx2Only only;
  ScatterAddRows(narrow.x, narrow.token.data(), 0, GetParam(), narrow.table.data());
  EXPECT_EQ(fast.table, narrow.table);
}

// Threads share channels: any cut gives the whole's bits, and a part touches no other channel.
TEST_P(EmbeddingOf, ScattersAnyRangeOfChannels) {
  Drawn whole(GetParam(), /*seed=*/3), parts(GetParam(), /*seed=*/3);
  ScatterAddRows(whole.x, whole.token.data(), 0, GetParam(), whole.table.data());
  const std::vector<float> before = parts.table;
  const int cut = GetParam() / 3, second = GetParam() - GetParam() / 4;
  ScatterAddRows(parts.x, parts.token.data(), cut, second, parts.table.data());
  for (int row = 0; row < kRows; ++row) {
    for (int c = 0; c < GetParam(); ++c) {
      const size_t i = static_cast<size_t>(row) * GetParam() + c;
      ASSERT_EQ(parts.table[i], c >= cut && c < second ? whole.table[i] : before[i]) << row << ", " << c;
    }
  }
  ScatterAddRows(parts.x, parts.token.data(), second, GetParam(), parts.table.data());
  ScatterAddRows(parts.x, parts.token.data(), 0, cut, parts.table.data());
  ScatterAddRows(parts.x, parts.token.data(), cut, cut, parts.table.data());
  EXPECT_EQ(parts.table, whole.table);
}

INSTANTIATE_TEST_SUITE_P(Channels, EmbeddingOf, testing::Values(1, 7, 8, 15, 16, 17, 48, 100, 259));

// The scatter is the gather's transpose: <gather(table), x> = <table, scatter(x)>.
TEST(Embedding, ScatterIsTheGradientOfGather) {
  Drawn in(21, /*seed=*/4);
  OwnedTile gathered(21);
  GatherRows(in.table.data(), in.token.data(), GatherWrite::kOverwrite, gathered);
  std::vector<float> gradient(in.table.size(), 0.0f);
  ScatterAddRows(in.x, in.token.data(), 0, 21, gradient.data());
  double left = 0, right = 0;
  for (size_t i = 0; i < gathered.tile().size(); ++i) left += double{gathered.tile().data[i]} * in.x.tile().data[i];
  for (size_t i = 0; i < gradient.size(); ++i) right += double{gradient[i]} * in.table[i];
  EXPECT_NEAR(left, right, 1e-4);
}

TEST(Embedding, OfPaddingAloneIsZeroAndScattersNothing) {
  Drawn in(19, /*seed=*/5);
  in.token.fill(-1);
  const std::vector<float> before = in.table;
  ScatterAddRows(in.x, in.token.data(), 0, 19, in.table.data());
  EXPECT_EQ(in.table, before);
  in.x.at(0, 0) = -0.0f;
  GatherRows(in.table.data(), in.token.data(), GatherWrite::kAdd, in.x);
  EXPECT_TRUE(std::signbit(in.x.at(0, 0))) << "adding nothing changes not even the sign of a zero";
  GatherRows(in.table.data(), in.token.data(), GatherWrite::kOverwrite, in.x);
  for (size_t i = 0; i < in.x.tile().size(); ++i) EXPECT_EQ(in.x.tile().data[i], 0.0f);
}

TEST(EmbeddingDeathTest, RefusesChannelsOutsideTheTile) {
  Drawn in(5, /*seed=*/6);
  EXPECT_DEATH(ScatterAddRows(in.x, in.token.data(), 2, 6, in.table.data()), "channels \\[2, 6\\) of 5");
}

}  // namespace
}  // namespace filigree::kernels
