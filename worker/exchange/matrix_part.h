#ifndef FILIGREE_WORKER_EXCHANGE_MATRIX_PART_H_
#define FILIGREE_WORKER_EXCHANGE_MATRIX_PART_H_

#include <cstdint>
#include <span>

#include "kernels/weight_topk/weight_topk.h"

// Matrices whose parts, rectangles, lie with several ranks.

namespace filigree::exchange {

// Rows and columns of the whole matrix.
struct Slice {
  int64_t row_begin = 0, row_end = 0, col_begin = 0, col_end = 0;

  int64_t rows() const { return row_end - row_begin; }
  int64_t cols() const { return col_end - col_begin; }
  int64_t numel() const { return rows() * cols(); }
};

// Entry (r, c) of the whole matrix stands in w[(r - row_begin) * stride + c - col_begin]. Borrowed.
struct MatrixPart {
  Slice slice;
  float* w = nullptr;
  int64_t stride = 0;

  float* row(int64_t r) const { return w + (r - slice.row_begin) * stride; }
};

// A matrix whose mask several ranks choose together.
struct ShardedMatrix {
  kernels::WeightSelection selection;  // of the whole matrix; the same on every rank
  // This rank's parts, read only. All ranks' together: every entry once. Units lie whole in a part (CHECK): parts have
  // all columns where rows are units, all rows where columns are.
  std::span<const MatrixPart> parts;
  // Bitmap over the whole matrix (kernels/csr/csr.h): all words are written, bits of others' entries are 0.
  uint64_t* kept = nullptr;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_MATRIX_PART_H_
