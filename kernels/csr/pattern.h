#ifndef FILIGREE_KERNELS_CSR_PATTERN_H_
#define FILIGREE_KERNELS_CSR_PATTERN_H_

#include <cstdint>

#include "kernels/base/buffer.h"

// Positions of a sparse matrix [rows][cols] without values: the candidate set of a matrix, on which its weights,
// moments and gradient exist. Values lie apart, one array each, in the order of the entries.
//
//   row r holds entries e in [row_offsets[r], row_offsets[r+1]), columns col_indices[e] ascending,
//
// so entries ascend by global index r * cols + c: of two entries the lower index is the earlier one. Indices are 16
// bits (rows, cols <= 65536), offsets 32 bits (nnz < 2^32). col_indices is padded by 16 zeros past nnz.
//
// Bitmap over entries: bit e % 64 of word e / 64, ceil(nnz / 64) words, unused bits 0.

namespace filigree::kernels {

struct PatternView {
  int rows = 0, cols = 0;
  const uint32_t* row_offsets = nullptr;  // rows + 1
  const uint16_t* col_indices = nullptr;

  int64_t nnz() const { return row_offsets == nullptr ? 0 : row_offsets[rows]; }
  int64_t words() const { return (nnz() + 63) / 64; }  // of a bitmap over entries
};

class Pattern {
 public:
  Pattern() = default;
  // Room for nnz entries, all offsets and indices 0: the caller fills them.
  Pattern(int rows, int cols, int64_t nnz);
  // Every position of the matrix.
  static Pattern Full(int rows, int cols);
  // The entries whose bit is set in `kept`, a bitmap over the entries of `of`.
  static Pattern Subset(const PatternView& of, const uint64_t* kept);
  // The positions whose bit is set in `kept`, a bitmap over the global indices of a dense matrix.
  static Pattern FromDenseBitmap(int rows, int cols, const uint64_t* kept);

  PatternView view() const { return {rows_, cols_, row_offsets_.data(), col_indices_.data()}; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int64_t nnz() const { return row_offsets_.empty() ? 0 : row_offsets_[rows_]; }
  uint32_t* row_offsets() { return row_offsets_.data(); }
  uint16_t* col_indices() { return col_indices_.data(); }
  size_t bytes() const { return row_offsets_.size() * sizeof(uint32_t) + col_indices_.size() * sizeof(uint16_t); }

 private:
  int rows_ = 0, cols_ = 0;
  Buffer<uint32_t> row_offsets_;
  Buffer<uint16_t> col_indices_;
};

// Is this a pattern: offsets that rise from 0, columns that ascend within a row and lie inside it?
bool IsSound(const PatternView& pattern);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CSR_PATTERN_H_
