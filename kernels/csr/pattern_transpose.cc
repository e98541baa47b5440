#include "kernels/csr/pattern_transpose.h"

#include <algorithm>

#include "kernels/base/trace.h"

namespace filigree::kernels {
namespace {

template <typename T>
void Grow(Buffer<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer = Buffer<T>(static_cast<size_t>(size + size / 8));
}

int64_t ChunksOf(int64_t rows, int threads) {
  return std::max<int64_t>(1, std::min<int64_t>(rows, threads == 1 ? 1 : 2 * threads));
}

}  // namespace

int64_t PatternTranspose::BytesOf(int64_t rows, int64_t cols, int64_t entries, int threads) {
  constexpr int64_t kEntry = sizeof(uint16_t) + sizeof(uint32_t), kOffset = sizeof(uint32_t);
  return entries * kEntry + (cols + 1 + ChunksOf(rows, threads) * cols) * kOffset;
}

void PatternTranspose::Build(const PatternView& pattern, ThreadPool& pool) {
  const TraceSpan span("pattern.transpose", [&] {
    return TraceWork{.bytes = 10.0 * static_cast<double>(pattern.nnz()), .threads = pool.threads()};
  });
  const int cols = pattern.cols;
  const int64_t chunks = ChunksOf(pattern.rows, pool.threads());
  const auto row = [&](int64_t chunk) { return static_cast<int>(pattern.rows * chunk / chunks); };
  Grow(offsets_, cols + 1);
  Grow(rows_, pattern.nnz());
  Grow(source_, pattern.nnz());
  Grow(next_, chunks * cols);
  pool.Run(chunks, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * cols;
    std::fill_n(next, cols, 0u);
    const uint32_t end = pattern.row_offsets[row(chunk + 1)];
    for (uint32_t e = pattern.row_offsets[row(chunk)]; e < end; ++e) ++next[pattern.col_indices[e]];
  });
  uint32_t sum = 0;
  for (int c = 0; c < cols; ++c) {
    offsets_[c] = sum;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      uint32_t& next = next_[chunk * cols + c];
      const uint32_t count = next;
      next = sum;
      sum += count;
    }
  }
  offsets_[cols] = sum;
  pool.Run(chunks, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * cols;
    for (int r = row(chunk); r < row(chunk + 1); ++r) {
      for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
        const uint32_t to = next[pattern.col_indices[e]]++;
        rows_[to] = static_cast<uint16_t>(r);
        source_[to] = e;
      }
    }
  });
}

size_t PatternTranspose::bytes() const {
  return (offsets_.size() + source_.size() + next_.size()) * sizeof(uint32_t) + rows_.size() * sizeof(uint16_t);
}

}  // namespace filigree::kernels
