#include "kernels/csr/csr.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;

struct Case {
  int rows, cols;
  double density;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.rows << " x " << c.cols << " at " << c.density; }

const Case kCases[] = {{1, 1, 1},     {1, 1, 0},     {67, 33, 0.2},    {67, 33, 1},     {67, 33, 0},    {3, 1000, 0.01},
                       {500, 3, 0.3}, {64, 64, 0.5}, {128, 192, 0.05}, {1, 65536, 0.1}, {65536, 1, 0.1}};

// A dense matrix and the bitmap of its kept entries.
struct Matrix {
  Matrix(const Case& c, uint64_t seed) : rows(c.rows), cols(c.cols), w(c.rows * c.cols), kept((w.size() + 63) / 64) {
    Rng rng(seed);
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] = rng.Below(8) == 0 ? 0.0f : rng.Normal();  // a kept entry may be zero
      if (rng.Uniform() < c.density) kept[i / 64] |= uint64_t{1} << i % 64;
    }
  }
  bool IsKept(int r, int c) const {
    const size_t i = size_t{1} * r * cols + c;
    return kept[i / 64] >> i % 64 & 1;
  }
  float at(int r, int c) const { return w[size_t{1} * r * cols + c]; }

  int rows, cols;
  Buffer<float> w;
  Buffer<uint64_t> kept;
};

struct Entry {
  int row, col;
  float value;
  bool operator==(const Entry&) const = default;
};

std::vector<Entry> Entries(const CsrView& a) {
  std::vector<Entry> entries;
  for (int r = 0; r < a.rows; ++r) {
    for (uint32_t e = a.row_offsets[r]; e < a.row_offsets[r + 1]; ++e) {
      entries.push_back({r, a.col_indices[e], a.values[e]});
    }
  }
  return entries;
}

std::vector<Entry> RowsOf(const Matrix& m) {
  std::vector<Entry> entries;
  for (int r = 0; r < m.rows; ++r) {
    for (int c = 0; c < m.cols; ++c) {
      if (m.IsKept(r, c)) entries.push_back({r, c, m.at(r, c)});
    }
  }
  return entries;
}

std::vector<Entry> ColumnsOf(const Matrix& m) {
  std::vector<Entry> entries;
  for (int c = 0; c < m.cols; ++c) {
    for (int r = 0; r < m.rows; ++r) {
      if (m.IsKept(r, c)) entries.push_back({c, r, m.at(r, c)});
    }
  }
  return entries;
}

void ExpectPadded(const CsrView& a) {
  for (int64_t e = a.nnz(); e < a.nnz() + 16; ++e) {
    EXPECT_EQ(a.col_indices[e], 0);
    EXPECT_EQ(a.values[e], 0.0f);
  }
}

class CsrTest : public testing::TestWithParam<Case> {};

TEST_P(CsrTest, HoldsTheKeptEntriesWithAnyNumberOfThreads) {
  const Matrix m(GetParam(), 71);
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    Csr a, transpose;
    a.BuildFromDense(m.w.data(), m.kept.data(), m.rows, m.cols, pool);
    EXPECT_EQ(a.view().rows, m.rows);
    EXPECT_EQ(a.view().cols, m.cols);
    EXPECT_TRUE(Entries(a.view()) == RowsOf(m)) << threads << " threads";
    EXPECT_EQ(a.nnz(), static_cast<int64_t>(RowsOf(m).size()));
    ExpectPadded(a.view());

    transpose.BuildTranspose(a.view(), pool);
    EXPECT_EQ(transpose.view().rows, m.cols);
    EXPECT_EQ(transpose.view().cols, m.rows);
    EXPECT_TRUE(Entries(transpose.view()) == ColumnsOf(m)) << threads << " threads";
    ExpectPadded(transpose.view());
  }
}

TEST_P(CsrTest, RefreshesValuesOfUnchangedMembers) {
  Matrix m(GetParam(), 72);
  ThreadPool pool(2);
  Csr a, transpose;
  a.BuildFromDense(m.w.data(), m.kept.data(), m.rows, m.cols, pool);
  transpose.BuildTranspose(a.view(), pool);
  Rng rng(73);
  for (float& x : m.w) x = rng.Normal();
  a.RefreshValuesFromDense(m.w.data(), pool);
  transpose.RefreshTransposeValues(a.view(), pool);
  EXPECT_TRUE(Entries(a.view()) == RowsOf(m));
  EXPECT_TRUE(Entries(transpose.view()) == ColumnsOf(m));
}

INSTANTIATE_TEST_SUITE_P(Cases, CsrTest, testing::ValuesIn(kCases));

// From step to step the number of entries and even the shape may go up and down; nothing of the past may show.
TEST(CsrReuseTest, RebuildsInPlace) {
  ThreadPool pool(2);
  Csr a, transpose;
  uint64_t seed = 81;
  for (const Case& c : {Case{40, 50, 0.9}, Case{40, 50, 0.1}, Case{7, 300, 0.5}, Case{300, 7, 0}, Case{90, 90, 0.7}}) {
    const Matrix m(c, seed++);
    a.BuildFromDense(m.w.data(), m.kept.data(), m.rows, m.cols, pool);
    transpose.BuildTranspose(a.view(), pool);
    EXPECT_TRUE(Entries(a.view()) == RowsOf(m));
    EXPECT_TRUE(Entries(transpose.view()) == ColumnsOf(m));
    ExpectPadded(a.view());
    ExpectPadded(transpose.view());
  }
}

TEST(CsrReuseTest, ADecreaseAllocatesNothing) {
  ThreadPool pool(1);
  Csr a;
  const Matrix full({40, 50, 1}, 91), sparse({40, 50, 0.1}, 92);
  a.BuildFromDense(full.w.data(), full.kept.data(), 40, 50, pool);
  const size_t bytes = a.bytes();
  const float* values = a.view().values;
  a.BuildFromDense(sparse.w.data(), sparse.kept.data(), 40, 50, pool);
  EXPECT_EQ(a.bytes(), bytes);
  EXPECT_EQ(a.view().values, values);
}

// Arrays are given a quarter more than is written, and sixteen entries of padding.
TEST(CsrBytesTest, AreThoseSaidBeforehand) {
  uint64_t seed = 60;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Case& c : {Case{40, 50, 0.9}, Case{300, 7, 0.5}, Case{7, 300, 0}, Case{90, 90, 1}}) {
      const Matrix m(c, seed++);
      Csr a, transpose;
      a.BuildFromDense(m.w.data(), m.kept.data(), m.rows, m.cols, pool);
      transpose.BuildTranspose(a.view(), pool);
      const auto expect_about = [](size_t held, int64_t said) {
        EXPECT_LE(said, static_cast<int64_t>(held));
        EXPECT_GE(said, static_cast<int64_t>(held) * 4 / 5 - 16 * 6);
      };
      expect_about(a.bytes(), Csr::BytesOf(m.rows, a.nnz()));
      expect_about(transpose.bytes(), Csr::BytesOfTranspose(m.rows, m.cols, a.nnz(), threads));
    }
  }
}

TEST(CsrEmptyTest, AnEmptyMatrixHasNoEntries) {
  EXPECT_EQ(Csr().nnz(), 0);
  EXPECT_EQ(CsrView().nnz(), 0);
}

TEST(CsrDeathTest, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  Csr a;
  EXPECT_DEATH(a.BuildFromDense(nullptr, nullptr, 1, 65537, pool), "1 x 65537");
  const Matrix m({3, 4, 1}, 93);
  a.BuildFromDense(m.w.data(), m.kept.data(), 3, 4, pool);
  Csr other;
  EXPECT_DEATH(other.RefreshTransposeValues(a.view(), pool), "not the transpose");
}

}  // namespace
}  // namespace filigree::kernels
