#include "kernels/csr/pattern.h"

#include <bit>

#include "kernels/base/check.h"

namespace filigree::kernels {
namespace {

constexpr int64_t kPadding = 16;
constexpr int kMaxIndex = 65536;

bool Bit(const uint64_t* bits, int64_t i) { return bits[i / 64] >> (i % 64) & 1; }

int64_t Count(const uint64_t* bits, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < (n + 63) / 64; ++i) count += std::popcount(bits[i]);
  return count;
}

}  // namespace

Pattern::Pattern(int rows, int cols, int64_t nnz) : rows_(rows), cols_(cols) {
  CHECK(rows >= 0 && cols >= 0 && rows <= kMaxIndex && cols <= kMaxIndex, "{} x {} does not fit 16-bit indices", rows,
        cols);
  CHECK(nnz >= 0 && nnz <= UINT32_MAX, "{} entries", nnz);
  row_offsets_ = Buffer<uint32_t>(static_cast<size_t>(rows) + 1);
  col_indices_ = Buffer<uint16_t>(static_cast<size_t>(nnz + kPadding));
}

Pattern Pattern::Full(int rows, int cols) {
  Pattern full(rows, cols, int64_t{rows} * cols);
  for (int r = 0; r < rows; ++r) {
    const uint32_t begin = static_cast<uint32_t>(int64_t{r} * cols);
    for (int c = 0; c < cols; ++c) full.col_indices_[begin + c] = static_cast<uint16_t>(c);
    full.row_offsets_[r + 1] = begin + cols;
  }
  return full;
}

Pattern Pattern::Subset(const PatternView& of, const uint64_t* kept) {
  Pattern subset(of.rows, of.cols, Count(kept, of.nnz()));
  uint32_t to = 0;
  for (int r = 0; r < of.rows; ++r) {
    for (uint32_t e = of.row_offsets[r]; e < of.row_offsets[r + 1]; ++e) {
      if (Bit(kept, e)) subset.col_indices_[to++] = of.col_indices[e];
    }
    subset.row_offsets_[r + 1] = to;
  }
  return subset;
}

Pattern Pattern::FromDenseBitmap(int rows, int cols, const uint64_t* kept) {
  Pattern pattern(rows, cols, Count(kept, int64_t{rows} * cols));
  uint32_t to = 0;
  for (int r = 0; r < rows; ++r) {
    const int64_t begin = int64_t{r} * cols;
    for (int c = 0; c < cols; ++c) {
      if (Bit(kept, begin + c)) pattern.col_indices_[to++] = static_cast<uint16_t>(c);
    }
    pattern.row_offsets_[r + 1] = to;
  }
  return pattern;
}

bool IsSound(const PatternView& pattern) {
  if (pattern.row_offsets == nullptr || pattern.row_offsets[0] != 0) return false;
  for (int r = 0; r < pattern.rows; ++r) {
    if (pattern.row_offsets[r] > pattern.row_offsets[r + 1]) return false;
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      if (pattern.col_indices[e] >= pattern.cols) return false;
      if (e > pattern.row_offsets[r] && pattern.col_indices[e] <= pattern.col_indices[e - 1]) return false;
    }
  }
  return true;
}

}  // namespace filigree::kernels
