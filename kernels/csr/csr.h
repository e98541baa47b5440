#ifndef FILIGREE_KERNELS_CSR_CSR_H_
#define FILIGREE_KERNELS_CSR_CSR_H_

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"

// Compressed sparse rows of a weight matrix W [rows][cols], and of its transpose.
//
//   row r holds entries e in [row_offsets[r], row_offsets[r+1]), columns col_indices[e] ascending, values[e].
//
// Indices are 16 bits (rows, cols <= 65536), offsets 32 bits (nnz < 2^32). Arrays are padded by 16 entries past nnz, so
// that a kernel may read (not use) a little ahead: indices there are 0, values 0.
//
// Bitmap: a selection of entries of a dense row-major matrix, bit i % 64 of word i / 64 for the entry of global index
// i = r * cols + c; ceil(numel / 64) words, unused bits 0.

namespace filigree::kernels {

struct CsrView {
  int rows = 0, cols = 0;
  const uint32_t* row_offsets = nullptr;  // rows + 1
  const uint16_t* col_indices = nullptr;
  const float* values = nullptr;

  int64_t nnz() const { return row_offsets == nullptr ? 0 : row_offsets[rows]; }
};

// An owned CSR matrix. Its arrays grow and are reused from one rebuild to the next.
class Csr {
 public:
  CsrView view() const { return {rows_, cols_, offsets_.data(), indices_.data(), values_.data()}; }
  int64_t nnz() const { return offsets_.empty() ? 0 : offsets_[rows_]; }
  // Bytes of the arrays. They are given up to a quarter more than they need, so as not to grow at every rebuild; what
  // was never written of large ones takes no memory, and BytesOf leaves it out.
  size_t bytes() const;
  // What BuildFromDense, or BuildTranspose of a matrix [rows][cols], writes for so many entries, beforehand.
  static int64_t BytesOf(int64_t rows, int64_t entries);
  static int64_t BytesOfTranspose(int64_t rows, int64_t cols, int64_t entries, int threads);

  // This = the entries of w [rows][cols] whose bit is set in `kept`, values as they are (zeros included).
  // Cost: one read of the bitmap and of the kept weights, parallel over rows.
  void BuildFromDense(const float* w, const uint64_t* kept, int rows, int cols, ThreadPool& pool);

  // This = transpose of `a`, by counting sort: row c of this lists the rows r of `a` in ascending order.
  void BuildTranspose(const CsrView& a, ThreadPool& pool);

  // As BuildTranspose, where only the values changed since.
  void RefreshTransposeValues(const CsrView& a, ThreadPool& pool);

  // As BuildFromDense, where only the values of w changed since.
  void RefreshValuesFromDense(const float* w, ThreadPool& pool);

 private:
  void ResizeRows(int rows, int cols);
  void ResizeEntries(int64_t nnz);
  void GatherRow(const float* w, int r);

  int rows_ = 0, cols_ = 0;
  Buffer<uint32_t> offsets_;
  Buffer<uint16_t> indices_;
  Buffer<float> values_;
  Buffer<uint32_t> source_;  // for a transpose: entry of `a` each of our entries came from
  Buffer<uint32_t> next_;    // counting sort: per chunk of rows of `a` and column, where the next entry goes
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CSR_CSR_H_
