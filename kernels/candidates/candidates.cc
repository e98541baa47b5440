#include "kernels/candidates/candidates.h"

#include <algorithm>
#include <bit>

#include "kernels/candidates/fused.h"
#include "kernels/spmm/spmm.h"

namespace filigree::kernels {
namespace {

constexpr int64_t kPadding = 16;

template <typename T>
void Grow(Buffer<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size + kPadding)
    buffer = Buffer<T>(static_cast<size_t>(size + size / 8 + kPadding));
}

bool Kept(const uint64_t* kept, uint32_t e) { return kept == nullptr || (kept[e / 64] >> (e % 64) & 1) != 0; }

// Bits [begin, end) of a bitmap, counted.
int64_t CountKept(const uint64_t* kept, uint32_t begin, uint32_t end) {
  if (kept == nullptr) return end - begin;
  int64_t count = 0;
  for (uint32_t e = begin; e < end;) {
    const uint32_t next = std::min(end, (e / 64 + 1) * 64);
    const uint64_t word = kept[e / 64] >> (e % 64);
    const uint32_t bits = next - e;
    count += std::popcount(bits == 64 ? word : word & ((uint64_t{1} << bits) - 1));
    e = next;
  }
  return count;
}

constexpr int kParts = 16;

}  // namespace

void CandidateMatrix::SetPattern(const PatternView& pattern, ThreadPool& pool) {
  (void)pool;
  out_ = pattern.rows;
  in_ = pattern.cols;
  candidates_ = pattern.nnz();
  pattern_ = Pattern(out_, in_, candidates_);
  std::copy_n(pattern.row_offsets, out_ + 1, pattern_.row_offsets());
  std::copy_n(pattern.col_indices, candidates_, pattern_.col_indices());
  Grow(columns_.offsets, in_ + 2);
  Grow(columns_.indices, candidates_);
  Grow(columns_.values, candidates_);
  Grow(source_, candidates_);
  uint32_t* next = columns_.offsets.data();  // shifted by one while entries are counted and placed
  std::fill_n(next, in_ + 2, 0u);
  for (int64_t e = 0; e < candidates_; ++e) ++next[pattern.col_indices[e] + 2];
  for (int c = 0; c < in_; ++c) next[c + 2] += next[c + 1];
  for (int r = 0; r < out_; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      const uint32_t to = next[pattern.col_indices[e] + 1]++;
      columns_.indices[to] = static_cast<uint16_t>(r);
      source_[to] = e;
    }
  }
}

void CandidateMatrix::SetWeights(const float* w, const uint64_t* kept, ThreadPool& pool) {
  SetRows(w, kept, pool);
  SetColumns(w, kept, pool);
}

void CandidateMatrix::SetRows(const float* w, const uint64_t* kept, ThreadPool& pool) {
  const uint32_t* offsets = pattern_.view().row_offsets;
  const uint16_t* columns = pattern_.view().col_indices;
  Grow(rows_.offsets, out_ + 1);
  const auto begin = [&](int64_t part) { return static_cast<int>(out_ * part / kParts); };
  pool.Run(kParts, [&](int64_t part, int) {
    for (int r = begin(part); r < begin(part + 1); ++r) {
      rows_.offsets[r + 1] = static_cast<uint32_t>(CountKept(kept, offsets[r], offsets[r + 1]));
    }
  });
  rows_.offsets[0] = 0;
  for (int r = 0; r < out_; ++r) rows_.offsets[r + 1] += rows_.offsets[r];
  Grow(rows_.indices, rows_.offsets[out_]);
  Grow(rows_.values, rows_.offsets[out_]);
  pool.Run(kParts, [&](int64_t part, int) {
    uint32_t to = rows_.offsets[begin(part)];
    for (uint32_t e = offsets[begin(part)]; e < offsets[begin(part + 1)]; ++e) {
      if (!Kept(kept, e)) continue;
      rows_.indices[to] = columns[e];
      rows_.values[to++] = w[e];
    }
  });
}

void CandidateMatrix::SetColumns(const float* w, const uint64_t* kept, ThreadPool& pool) {
  pool.Run(kParts, [&](int64_t part, int) {
    for (int64_t i = candidates_ * part / kParts; i < candidates_ * (part + 1) / kParts; ++i) {
      columns_.values[i] = Kept(kept, source_[i]) ? w[source_[i]] : 0.0f;
    }
  });
}

void CandidateMatrix::Forward(ConstTile x, const float* bias, Tile y) const {
  Spmm(ViewOf(rows_, out_, in_), x, bias, y);
}

void CandidateMatrix::Backward(ConstTile dy, Tile dx) const { Spmm(ViewOf(columns_, in_, out_), dy, nullptr, dx); }

void CandidateMatrix::BackwardWithGradient(ConstTile dy, ConstTile x, Tile dx, float* partial) const {
  FusedBackward(ViewOf(columns_, in_, out_), dy, x, dx, partial);
}

void CandidateMatrix::SumPartials(std::span<const float* const> partials, bool add, float* gradient,
                                  ThreadPool& pool) const {
  pool.Run(kParts, [&](int64_t part, int) {
    for (int64_t i = candidates_ * part / kParts; i < candidates_ * (part + 1) / kParts; ++i) {
      float sum = 0;
      for (const float* partial : partials) sum += partial[i];
      float& to = gradient[source_[i]];
      to = add ? to + sum : sum;
    }
  });
}

size_t CandidateMatrix::bytes() const {
  size_t sum = pattern_.bytes() + source_.size() * sizeof(uint32_t);
  for (const Compressed* m : {&rows_, &columns_}) {
    sum +=
        m->offsets.size() * sizeof(uint32_t) + m->indices.size() * sizeof(uint16_t) + m->values.size() * sizeof(float);
  }
  return sum;
}

}  // namespace filigree::kernels
