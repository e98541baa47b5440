#include "kernels/candidates/candidates.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/csr/csr.h"
#include "kernels/spmm/spmm.h"

namespace filigree::kernels {
namespace {

template <typename T>
void Assign(const T* from, int64_t size, Buffer<T>& to) {
  if (static_cast<int64_t>(to.size()) < size) to = Buffer<T>(static_cast<size_t>(size + size / 8));
  std::copy_n(from, size, to.data());
}

// gradient[source[i]] = (add: +=) the partials' sum of candidate i, for i in [begin, end).
void SumAndScatter(std::span<const float* const> partials, int64_t begin, int64_t end, const uint32_t* source, bool add,
                   float* gradient) {
  constexpr int64_t kBlock = 128;
  float sums[kBlock];
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t n = std::min(kBlock, end - block);
    for (int64_t i = 0; i < n; ++i) __builtin_prefetch(gradient + source[block + i], 1);
    std::fill_n(sums, n, 0.0f);
    for (const float* partial : partials) {
      for (int64_t i = 0; i < n; ++i) sums[i] += partial[block + i];
    }
    for (int64_t i = 0; i < n; ++i) {
      float& to = gradient[source[block + i]];
      to = add ? to + sums[i] : sums[i];
    }
  }
}

}  // namespace

void CandidateMatrix::SetPattern(const PatternView& pattern, ThreadPool& pool) {
  const TraceSpan span("candidates.set_pattern", [&] {
    return TraceWork{.bytes = 24 * static_cast<double>(candidates_), .threads = pool.threads()};
  });
  out_ = pattern.rows;
  in_ = pattern.cols;
  candidates_ = pattern.nnz();
  Assign(pattern.row_offsets, out_ + 1, row_offsets_);
  Assign(pattern.col_indices, candidates_, col_indices_);
  order_.Build(pattern, pool);
}

void CandidateMatrix::SetWeights(const float* w, const uint64_t* kept, ThreadPool& pool) {
  const TraceSpan span("candidates.set_weights", [&] {
    const auto n = static_cast<double>(candidates_);
    return TraceWork{.bytes = 16 * n, .threads = pool.threads()};
  });
  KeptRows({out_, in_, row_offsets_.data(), col_indices_.data()}, w, kept, rows_, pool);
  columns_.BuildTranspose(rows(), pool);
}

void CandidateMatrix::Forward(ConstTile x, const float* bias, Tile y) const { Spmm(rows(), x, bias, y); }
void CandidateMatrix::Forward(ConstBf16Tile x, const float* bias, Tile y) const { Spmm(rows(), x, bias, y); }

void CandidateMatrix::Backward(ConstTile dy, Tile dx) const {
  CHECK(dy.channels == out_, "dy has {} channels of {}", dy.channels, out_);
  CHECK(dx.channels == in_, "dx has {} channels of {}", dx.channels, in_);
  Spmm(columns_.view(), dy, nullptr, dx);
}

void CandidateMatrix::BackwardWithGradient(ConstTile dy, ConstTile x, Tile dx, float* partial) const {
  BackwardOf(dy, x, dx, partial);
}
void CandidateMatrix::BackwardWithGradient(ConstTile dy, ConstBf16Tile x, Tile dx, float* partial) const {
  BackwardOf(dy, x, dx, partial);
}

template <typename Input>
void CandidateMatrix::BackwardOf(ConstTile dy, Input x, Tile dx, float* partial) const {
  CHECK(dy.channels == out_, "dy has {} channels of {}", dy.channels, out_);
  CHECK(x.channels == in_, "x has {} channels of {}", x.channels, in_);
  const TraceSpan span("candidates.backward", [&] {
    const double n = static_cast<double>(candidates_), kept = dx.data == nullptr ? 0.0 : rows_.offsets[out_];
    return TraceWork{.flops = 2 * (n + kept) * kTileTokens, .bytes = 4 * (n + kept + 2.0 * in_) * kTileTokens};
  });
  if (dx.data != nullptr) Backward(dy, dx);
  SampledGradient(order_, dy, x, partial);
}

void CandidateMatrix::SumPartials(std::span<const float* const> partials, bool add, float* gradient,
                                  ThreadPool& pool) const {
  const int64_t parts = 4 * int64_t{pool.threads()};
  const TraceSpan span("candidates.sum_partials", [&] {
    const auto n = static_cast<double>(candidates_);
    return TraceWork{.bytes = 4 * n * (2 + static_cast<double>(partials.size())), .threads = pool.threads()};
  });
  pool.Run(parts, [&](int64_t part, int) {
    const int64_t begin = candidates_ * part / parts, end = candidates_ * (part + 1) / parts;
    SumAndScatter(partials, begin, end, order_.source(), add, gradient);
  });
}

size_t CandidateMatrix::bytes() const {
  return row_offsets_.size() * sizeof(uint32_t) + col_indices_.size() * sizeof(uint16_t) + order_.bytes() +
         rows_.bytes() + columns_.bytes();
}

int64_t CandidateMatrix::BytesOf(int64_t out, int64_t in, int64_t candidates, int64_t kept, int threads) {
  constexpr int64_t kColumn = sizeof(uint16_t), kOffset = sizeof(uint32_t);
  const int64_t pattern = candidates * kColumn + (out + 1) * kOffset;
  return pattern + SampledOrder::BytesOf(out, in, candidates, threads) + Csr::BytesOf(out, kept) +
         Csr::BytesOfTranspose(out, in, kept, threads);
}

}  // namespace filigree::kernels
