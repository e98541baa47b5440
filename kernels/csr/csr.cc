#include "kernels/csr/csr.h"

#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"

namespace filigree::kernels {
namespace {

constexpr int64_t kPadding = 16;
constexpr int kMaxIndex = 65536;

// Calls visit(word, first): the bits of `kept` in [begin, end), word by word; bit b of word is entry first + b.
template <typename Visit>
void ForEachWord(const uint64_t* kept, int64_t begin, int64_t end, Visit visit) {
  if (begin == end) return;
  const int64_t first = begin / 64, last = (end - 1) / 64;
  const uint64_t head = ~uint64_t{0} << (begin % 64), tail = ~uint64_t{0} >> (63 - (end - 1) % 64);
  for (int64_t i = first; i <= last; ++i) {
    uint64_t word = kept[i];
    if (i == first) word &= head;
    if (i == last) word &= tail;
    visit(word, i * 64);
  }
}

// Rows are given out in chunks of about equal work; the result does not depend on their number.
struct Chunks {
  Chunks(int64_t rows, const ThreadPool& pool) : Chunks(rows, pool.threads()) {}
  Chunks(int64_t rows, int threads) : rows(rows) {
    count = std::max<int64_t>(1, std::min<int64_t>(rows, threads == 1 ? 1 : 4 * threads));
  }
  int begin(int64_t chunk) const { return static_cast<int>(rows * chunk / count); }
  int end(int64_t chunk) const { return begin(chunk + 1); }

  int64_t rows, count;
};

// Bytes moved: so many in all, so many an entry.
TraceWork WorkOf(double bytes, int64_t nnz, double bytes_of_entry, const ThreadPool& pool) {
  return {.bytes = bytes + bytes_of_entry * static_cast<double>(nnz),
          .level = TraceLevel::kMemory,
          .threads = pool.threads()};
}

template <typename T>
void Grow(Buffer<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer = Buffer<T>(size + size / 4);
}

}  // namespace

size_t Csr::bytes() const {
  return offsets_.size() * sizeof(uint32_t) + indices_.size() * sizeof(uint16_t) + values_.size() * sizeof(float) +
         (source_.size() + next_.size()) * sizeof(uint32_t);
}

int64_t Csr::BytesOf(int64_t rows, int64_t entries) {
  constexpr int64_t kEntry = sizeof(uint16_t) + sizeof(float), kOffset = sizeof(uint32_t);
  return (rows + 1) * kOffset + entries * kEntry;
}

int64_t Csr::BytesOfTranspose(int64_t rows, int64_t cols, int64_t entries, int threads) {
  constexpr int64_t kSource = sizeof(uint32_t), kNext = sizeof(uint32_t);
  return BytesOf(cols, entries) + entries * kSource + Chunks(rows, threads).count * cols * kNext;
}

// Room for nnz entries, offsets left alone; the padding is cleared, the entries are the caller's to write.
void Csr::ResizeEntries(int64_t nnz) {
  Grow(indices_, nnz + kPadding);
  Grow(values_, nnz + kPadding);
  std::fill_n(indices_.data() + nnz, kPadding, uint16_t{0});
  std::fill_n(values_.data() + nnz, kPadding, 0.0f);
}

void Csr::ResizeRows(int rows, int cols) {
  CHECK(rows >= 0 && cols >= 0 && rows <= kMaxIndex && cols <= kMaxIndex, "{} x {} does not fit 16-bit indices", rows,
        cols);
  rows_ = rows;
  cols_ = cols;
  Grow(offsets_, rows + 1);
}

void Csr::BuildFromDense(const float* w, const uint64_t* kept, int rows, int cols, ThreadPool& pool) {
  const TraceSpan span("csr.build", [&] { return WorkOf(static_cast<double>(rows) * cols / 8, nnz(), 10, pool); });
  ResizeRows(rows, cols);
  const Chunks chunks(rows, pool);
  uint32_t* offsets = offsets_.data();
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    for (int r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
      const int64_t row_begin = int64_t{r} * cols;
      int count = 0;
      ForEachWord(kept, row_begin, row_begin + cols, [&](uint64_t word, int64_t) { count += std::popcount(word); });
      offsets[r + 1] = count;
    }
  });
  offsets[0] = 0;
  for (int r = 0; r < rows; ++r) {
    CHECK(offsets[r] <= UINT32_MAX - offsets[r + 1], "more than 2^32 entries");
    offsets[r + 1] += offsets[r];
  }
  ResizeEntries(offsets[rows]);
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    for (int r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
      const int64_t row_begin = int64_t{r} * cols;
      uint16_t* index = indices_.data() + offsets[r];
      ForEachWord(kept, row_begin, row_begin + cols, [&](uint64_t word, int64_t first) {
        for (; word != 0; word &= word - 1) {
          *index++ = static_cast<uint16_t>(first + std::countr_zero(word) - row_begin);
        }
      });
      GatherRow(w, r);  // apart from the search for bits, so that many of its reads are under way at once
    }
  });
}

void Csr::RefreshValuesFromDense(const float* w, ThreadPool& pool) {
  const TraceSpan span("csr.refresh", [&] { return WorkOf(0, nnz(), 10, pool); });
  const Chunks chunks(rows_, pool);
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    for (int r = chunks.begin(chunk); r < chunks.end(chunk); ++r) GatherRow(w, r);
  });
}

void Csr::GatherRow(const float* w, int r) {
  const float* row = w + int64_t{r} * cols_;
  for (uint32_t e = offsets_[r]; e < offsets_[r + 1]; ++e) values_[e] = row[indices_[e]];
}

// Counting sort, stable. Chunk k of the rows of `a` places its entries of column c after those of chunks before it.
void Csr::BuildTranspose(const CsrView& a, ThreadPool& pool) {
  const TraceSpan span("csr.transpose", [&] { return WorkOf(0, nnz(), 16, pool); });
  ResizeRows(a.cols, a.rows);
  const int64_t nnz = a.nnz();
  ResizeEntries(nnz);
  Grow(source_, nnz);
  const Chunks chunks(a.rows, pool);
  Grow(next_, chunks.count * a.cols);
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * a.cols;
    std::fill_n(next, a.cols, 0u);
    const uint32_t end = a.row_offsets[chunks.end(chunk)];
    for (uint32_t e = a.row_offsets[chunks.begin(chunk)]; e < end; ++e) ++next[a.col_indices[e]];
  });
  uint32_t sum = 0;
  for (int c = 0; c < a.cols; ++c) {
    offsets_[c] = sum;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      uint32_t& next = next_[chunk * a.cols + c];
      const uint32_t count = next;
      next = sum;
      sum += count;
    }
  }
  offsets_[a.cols] = sum;
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * a.cols;
    for (int r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
      for (uint32_t e = a.row_offsets[r]; e < a.row_offsets[r + 1]; ++e) {
        const uint32_t to = next[a.col_indices[e]]++;
        indices_[to] = static_cast<uint16_t>(r);
        values_[to] = a.values[e];
        source_[to] = e;
      }
    }
  });
}

void Csr::RefreshTransposeValues(const CsrView& a, ThreadPool& pool) {
  CHECK(a.rows == cols_ && a.cols == rows_ && a.nnz() == nnz(),
        "this is {} x {} with {} entries, not the transpose of {} x {} with {}", rows_, cols_, nnz(), a.rows, a.cols,
        a.nnz());
  const TraceSpan span("csr.refresh_transpose", [&] { return WorkOf(0, nnz(), 12, pool); });
  const Chunks chunks(rows_, pool);
  pool.Run(chunks.count, [&](int64_t chunk, int) {
    const uint32_t end = offsets_[chunks.end(chunk)];
    for (uint32_t e = offsets_[chunks.begin(chunk)]; e < end; ++e) values_[e] = a.values[source_[e]];
  });
}

}  // namespace filigree::kernels
