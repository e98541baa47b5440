#ifndef FILIGREE_KERNELS_CSR_PATTERN_TRANSPOSE_H_
#define FILIGREE_KERNELS_CSR_PATTERN_TRANSPOSE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"

// The entries of a pattern by columns: column c holds places i in [offsets()[c], offsets()[c+1]), rows()[i] ascending,
// and source()[i] is the number of that entry in the pattern. Arrays are reused from one Build to the next.
//
// Cost: a stable counting sort, parallel over chunks of rows; the result does not depend on the threads.

namespace filigree::kernels {

class PatternTranspose {
 public:
  void Build(const PatternView& pattern, ThreadPool& pool);

  const uint32_t* offsets() const { return offsets_.data(); }
  const uint16_t* rows() const { return rows_.data(); }
  const uint32_t* source() const { return source_.data(); }
  size_t bytes() const;
  // What Build writes for so many entries, beforehand; arrays are given a little more.
  static int64_t BytesOf(int64_t rows, int64_t cols, int64_t entries, int threads);

 private:
  Buffer<uint32_t> offsets_;
  Buffer<uint16_t> rows_;
  Buffer<uint32_t> source_;
  Buffer<uint32_t> next_;  // per chunk of rows and column: where its next entry goes
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CSR_PATTERN_TRANSPOSE_H_
