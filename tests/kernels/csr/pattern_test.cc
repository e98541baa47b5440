#include "kernels/csr/pattern.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/csr/pattern_transpose.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;

struct Case {
  int rows, cols;
  double density;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.rows << " x " << c.cols << " at " << c.density; }

const Case kCases[] = {{1, 1, 1},       {1, 1, 0},     {67, 33, 0.2}, {67, 33, 1},      {67, 33, 0},
                       {3, 1000, 0.01}, {500, 3, 0.3}, {64, 64, 0.5}, {128, 192, 0.05}, {1, 65536, 0.1},
                       {65536, 1, 0.1}, {0, 7, 0},     {7, 0, 0}};

bool Bit(const std::vector<uint64_t>& bits, size_t i) { return (bits[i / 64] >> i % 64 & 1) != 0; }

std::vector<uint64_t> RandomBits(int64_t n, double density, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> bits((n + 63) / 64);
  for (int64_t i = 0; i < n; ++i) {
    if (rng.Uniform() < density) bits[i / 64] |= uint64_t{1} << i % 64;
  }
  return bits;
}

using Positions = std::vector<std::pair<int, int>>;

Positions PositionsOf(const PatternView& pattern) {
  Positions positions;
  positions.reserve(pattern.nnz());
  for (int r = 0; r < pattern.rows; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      positions.emplace_back(r, pattern.col_indices[e]);
    }
  }
  return positions;
}

class PatternTest : public testing::TestWithParam<Case> {
 protected:
  const Case c_ = GetParam();
  const int64_t numel_ = int64_t{c_.rows} * c_.cols;
};

TEST_P(PatternTest, HoldsTheSetBitsOfADenseBitmap) {
  const std::vector<uint64_t> bits = RandomBits(numel_, c_.density, 301);
  const Pattern pattern = Pattern::FromDenseBitmap(c_.rows, c_.cols, bits.data());
  Positions expected;
  for (int r = 0; r < c_.rows; ++r) {
    for (int c = 0; c < c_.cols; ++c) {
      if (Bit(bits, static_cast<size_t>(r) * c_.cols + c)) expected.emplace_back(r, c);
    }
  }
  EXPECT_EQ(pattern.rows(), c_.rows);
  EXPECT_EQ(pattern.cols(), c_.cols);
  EXPECT_EQ(pattern.nnz(), static_cast<int64_t>(expected.size()));
  EXPECT_EQ(pattern.view().words(), (pattern.nnz() + 63) / 64);
  EXPECT_TRUE(PositionsOf(pattern.view()) == expected);
  EXPECT_TRUE(IsSound(pattern.view()));
  for (int64_t e = pattern.nnz(); e < pattern.nnz() + 16; ++e) EXPECT_EQ(pattern.view().col_indices[e], 0);
}

TEST_P(PatternTest, ASubsetHoldsTheEntriesWhoseBitIsSet) {
  const std::vector<uint64_t> bits = RandomBits(numel_, c_.density, 302);
  const Pattern pattern = Pattern::FromDenseBitmap(c_.rows, c_.cols, bits.data());
  const std::vector<uint64_t> kept = RandomBits(pattern.nnz(), 0.4, 303);
  const Pattern subset = Pattern::Subset(pattern.view(), kept.data());
  const Positions all = PositionsOf(pattern.view());
  Positions expected;
  for (size_t e = 0; e < all.size(); ++e) {
    if (Bit(kept, e)) expected.push_back(all[e]);
  }
  EXPECT_TRUE(PositionsOf(subset.view()) == expected);
  EXPECT_TRUE(IsSound(subset.view()));
}

TEST_P(PatternTest, FullHoldsEveryPosition) {
  const Pattern full = Pattern::Full(c_.rows, c_.cols);
  EXPECT_TRUE(IsSound(full.view()));
  EXPECT_EQ(full.nnz(), numel_);  // as many as there are places: with soundness, all
}

TEST_P(PatternTest, TheTransposeListsColumnsAndWhereTheyCameFrom) {
  const std::vector<uint64_t> bits = RandomBits(numel_, c_.density, 304);
  const Pattern pattern = Pattern::FromDenseBitmap(c_.rows, c_.cols, bits.data());
  const Positions all = PositionsOf(pattern.view());
  PatternTranspose transpose;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    transpose.Build(pattern.view(), pool);
    ASSERT_EQ(transpose.offsets()[0], 0U);
    ASSERT_EQ(transpose.offsets()[c_.cols], all.size());
    for (int c = 0; c < c_.cols; ++c) {
      for (uint32_t i = transpose.offsets()[c]; i < transpose.offsets()[c + 1]; ++i) {
        // Entries that ascend and lie in this column, as many as there are: each exactly once.
        ASSERT_EQ(all[transpose.source()[i]], std::make_pair(int{transpose.rows()[i]}, c));
        if (i > transpose.offsets()[c]) {
          ASSERT_LT(transpose.source()[i - 1], transpose.source()[i]);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, PatternTest, testing::ValuesIn(kCases));

TEST(PatternSoundnessTest, SeesWhatIsWrong) {
  const auto pattern = [](std::vector<uint32_t> offsets, std::vector<uint16_t> columns) {
    Pattern p(static_cast<int>(offsets.size()) - 1, 4, static_cast<int64_t>(columns.size()));
    for (size_t i = 0; i < offsets.size(); ++i) p.row_offsets()[i] = offsets[i];
    for (size_t i = 0; i < columns.size(); ++i) p.col_indices()[i] = columns[i];
    return p;
  };
  EXPECT_TRUE(IsSound(pattern({0, 2, 2, 3}, {0, 3, 1}).view()));
  EXPECT_FALSE(IsSound(pattern({1, 2, 2, 3}, {0, 3, 1}).view())) << "does not begin at 0";
  EXPECT_FALSE(IsSound(pattern({0, 2, 1, 3}, {0, 3, 1}).view())) << "offsets fall";
  EXPECT_FALSE(IsSound(pattern({0, 2, 2, 3}, {0, 4, 1}).view())) << "a column outside";
  EXPECT_FALSE(IsSound(pattern({0, 2, 2, 3}, {3, 0, 1}).view())) << "columns fall";
  EXPECT_FALSE(IsSound(pattern({0, 2, 2, 3}, {3, 3, 1}).view())) << "a column twice";
  EXPECT_FALSE(IsSound(PatternView()));
}

TEST(PatternEmptyTest, AnEmptyPatternHasNoEntries) {
  EXPECT_EQ(Pattern().nnz(), 0);
  EXPECT_EQ(PatternView().nnz(), 0);
  EXPECT_EQ(PatternView().words(), 0);
}

TEST(PatternTransposeTest, ASmallerOneAllocatesNothing) {
  ThreadPool pool(2);
  PatternTranspose transpose;
  transpose.Build(Pattern::Full(40, 50).view(), pool);
  const size_t bytes = transpose.bytes();
  const uint32_t* source = transpose.source();
  transpose.Build(Pattern::Full(30, 50).view(), pool);
  EXPECT_EQ(transpose.bytes(), bytes);
  EXPECT_EQ(transpose.source(), source);
}

TEST(PatternTransposeTest, TakesWhatIsSaidBeforehand) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    PatternTranspose transpose;
    transpose.Build(Pattern::Full(40, 50).view(), pool);
    const int64_t said = PatternTranspose::BytesOf(40, 50, 2000, threads), held = transpose.bytes();
    EXPECT_LE(said, held);
    EXPECT_GE(said, held * 8 / 9);  // arrays are given an eighth more
  }
}

TEST(PatternDeathTest, RefusesWhatDoesNotFit) { EXPECT_DEATH(Pattern(1, 65537, 0), "1 x 65537"); }

}  // namespace
}  // namespace filigree::kernels
