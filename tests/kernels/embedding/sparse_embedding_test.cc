#include "kernels/embedding/sparse_embedding.h"

#include <array>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/embedding/embedding.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr int kRows = 23;

// A table of which about one position in `one_in` exists; row 3 has no entry, row 5 every one.
struct Drawn {
  Drawn(int cols, int one_in, uint64_t seed) : x(cols) {
    Rng rng(seed);
    std::vector<uint64_t> kept((static_cast<size_t>(kRows) * cols + 63) / 64, 0);
    for (int r = 0; r < kRows; ++r) {
      for (int c = 0; c < cols; ++c) {
        const int64_t i = int64_t{r} * cols + c;
        if (r == 5 || (r != 3 && rng.Below(one_in) == 0)) kept[i / 64] |= uint64_t{1} << (i % 64);
      }
    }
    table = Pattern::FromDenseBitmap(kRows, cols, kept.data());
    // One value in four lies outside the mask.
    for (int64_t e = 0; e < table.nnz(); ++e) values.push_back(rng.Below(4) == 0 ? 0.0f : rng.Normal());
    x.Fill([&] { return rng.Normal(); });
    for (int32_t& t : token) {
      t = rng.Below(5) == 0 ? -1 - static_cast<int32_t>(rng.Below(9)) : static_cast<int32_t>(rng.Below(kRows));
    }
    token[9] = 3;
    token[17] = token[40] = kRows - 1;
    token[30] = token[31] = token[63] = 5;
  }

  // Any array over the entries as a matrix, 0 where there is none.
  std::vector<float> Dense(const std::vector<float>& of_entries) const {
    const PatternView view = table.view();
    std::vector<float> dense(static_cast<size_t>(view.rows) * view.cols, 0.0f);
    for (int r = 0; r < view.rows; ++r) {
      for (uint32_t e = view.row_offsets[r]; e < view.row_offsets[r + 1]; ++e) {
        dense[static_cast<size_t>(r) * view.cols + view.col_indices[e]] = of_entries[e];
      }
    }
    return dense;
  }

  Pattern table;
  std::vector<float> values;
  OwnedTile x;
  std::array<int32_t, kTileTokens> token;
};

class SparseEmbeddingOf : public testing::TestWithParam<int> {};

// What the dense table of the same values gives.
TEST_P(SparseEmbeddingOf, GathersWhatTheDenseTableGathers) {
  for (const int one_in : {1, 3, 40}) {
    Drawn in(GetParam(), one_in, /*seed=*/1);
    OwnedTile sparse(GetParam()), dense(GetParam());
    sparse.Fill([] { return 7.0f; });
    GatherSparseRows(in.table.view(), in.values.data(), in.token.data(), sparse);
    GatherRows(in.Dense(in.values).data(), in.token.data(), GatherWrite::kOverwrite, dense);
    EXPECT_TRUE(BitwiseEqual(sparse, dense)) << one_in;
  }
}

// The dense table's gradient at the entries, bit for bit: both add in ascending order of tokens.
TEST_P(SparseEmbeddingOf, ScattersWhatTheDenseTableGets) {
  for (const int one_in : {1, 3, 40}) {
    Drawn in(GetParam(), one_in, /*seed=*/2);
    std::vector<float> sparse = in.values, dense = in.Dense(in.values);
    ScatterAddRows(in.x, in.token.data(), 0, GetParam(), dense.data());
    ScatterAddSparseRows(in.x, in.token.data(), 0, kRows, in.table.view(), sparse.data());
    const PatternView view = in.table.view();
    for (int r = 0; r < kRows; ++r) {
      for (uint32_t e = view.row_offsets[r]; e < view.row_offsets[r + 1]; ++e) {
        ASSERT_EQ(sparse[e], dense[static_cast<size_t>(r) * GetParam() + view.col_indices[e]]) << r << ", " << e;
      }
    }
  }
}

// Threads share rows: any cut gives the whole's bits, and a part touches no other row.
TEST_P(SparseEmbeddingOf, ScattersAnyRangeOfRows) {
  Drawn in(GetParam(), /*one_in=*/2, /*seed=*/3);
  const PatternView view = in.table.view();
  std::vector<float> whole = in.values, parts = in.values;
  ScatterAddSparseRows(in.x, in.token.data(), 0, kRows, view, whole.data());
  ScatterAddSparseRows(in.x, in.token.data(), 5, 11, view, parts.data());
  for (int64_t e = 0; e < view.nnz(); ++e) {
    const bool inside = e >= view.row_offsets[5] && e < view.row_offsets[11];
    ASSERT_EQ(parts[e], inside ? whole[e] : in.values[e]) << e;
  }
  ScatterAddSparseRows(in.x, in.token.data(), 11, kRows, view, parts.data());
  ScatterAddSparseRows(in.x, in.token.data(), 0, 5, view, parts.data());
  ScatterAddSparseRows(in.x, in.token.data(), 5, 5, view, parts.data());
  EXPECT_EQ(parts, whole);
}

INSTANTIATE_TEST_SUITE_P(Columns, SparseEmbeddingOf, testing::Values(1, 7, 8, 15, 16, 17, 48, 100, 259, 640));

TEST(SparseEmbedding, OfPaddingAloneIsZeroAndScattersNothing) {
  Drawn in(19, /*one_in=*/2, /*seed=*/4);
  in.token.fill(-1);
  std::vector<float> gradient = in.values;
  ScatterAddSparseRows(in.x, in.token.data(), 0, kRows, in.table.view(), gradient.data());
  EXPECT_EQ(gradient, in.values);
  GatherSparseRows(in.table.view(), in.values.data(), in.token.data(), in.x);
  for (size_t i = 0; i < in.x.tile().size(); ++i) EXPECT_EQ(in.x.tile().data[i], 0.0f);
}

TEST(SparseEmbeddingDeathTest, RefusesRowsOutsideTheTableAndOtherWidths) {
  Drawn in(5, /*one_in=*/2, /*seed=*/5);
  EXPECT_DEATH(ScatterAddSparseRows(in.x, in.token.data(), 2, kRows + 1, in.table.view(), in.values.data()),
               "rows \\[2, 24\\) of 23");
  OwnedTile wide(6);
  EXPECT_DEATH(GatherSparseRows(in.table.view(), in.values.data(), in.token.data(), wide), "6 channels");
}

}  // namespace
}  // namespace filigree::kernels
