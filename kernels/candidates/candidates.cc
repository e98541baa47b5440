#include "kernels/candidates/candidates.h"

#include <algorithm>

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

// gradient[source[i - first]] = (add: +=) the partials' sum of entry i, for i in [begin, end).
void SumAndScatter(std::span<const float* const> partials, int64_t begin, int64_t end, const EntryList& list,
                   int64_t first, bool add, float* gradient) {
  const uint32_t* source = list.source.data();
  constexpr int64_t kBlock = 512;
  float sums[kBlock];
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t n = std::min(kBlock, end - block);
    std::fill_n(sums, n, 0.0f);
    for (const float* partial : partials) {
      for (int64_t i = 0; i < n; ++i) sums[i] += partial[block + i];
    }
    for (int64_t i = 0; i < n; ++i) {
      float& to = gradient[source[block + i - first]];
      to = add ? to + sums[i] : sums[i];
    }
  }
}

}  // namespace

void CandidateMatrix::SetPattern(const PatternView& pattern, ThreadPool& pool) {
  out_ = pattern.rows;
  in_ = pattern.cols;
  candidates_ = pattern.nnz();
  reserve_by_rows_ = out_ > in_ && out_ > kTallRows;
  Assign(pattern.row_offsets, out_ + 1, row_offsets_);
  Assign(pattern.col_indices, candidates_, col_indices_);
  transpose_.Build(pattern, pool);
}

void CandidateMatrix::SetWeights(const float* w, const uint64_t* kept, ThreadPool& pool) {
  const TraceSpan span("candidates.set_weights", [&] {
    const auto n = static_cast<double>(candidates_);
    return TraceWork{.bytes = 30 * n, .threads = pool.threads()};
  });
  const PatternView pattern{out_, in_, row_offsets_.data(), col_indices_.data()};
  KeptRows(pattern, w, kept, rows_, pool);
  if (reserve_by_rows_) {
    KeptColumns(transpose_, in_, w, kept, columns_, pool);
    ReserveRows(pattern, kept, reserve_, pool);
  } else {
    AllColumns(transpose_, in_, w, kept, columns_, kept_ends_, pool);
  }
}

CandidateRuns CandidateMatrix::ColumnRuns() const {
  return {.runs = in_,
          .others = out_,
          .begins = columns_.offsets.data(),
          .kept_ends = reserve_by_rows_ ? columns_.offsets.data() + 1 : kept_ends_.data(),
          .indices = columns_.indices.data(),
          .values = columns_.values.data()};
}

void CandidateMatrix::Forward(ConstTile x, const float* bias, Tile y) const {
  Spmm({out_, in_, rows_.offsets.data(), rows_.indices.data(), rows_.values.data()}, x, bias, y);
}

void CandidateMatrix::Backward(ConstTile dy, Tile dx) const {
  FusedBackward(ColumnRuns(), dy, {nullptr, in_}, dx, nullptr);
}

void CandidateMatrix::BackwardWithGradient(ConstTile dy, ConstTile x, Tile dx, float* partial) const {
  const TraceSpan span("candidates.backward", [&] {
    const double n = static_cast<double>(candidates_), kept = dx.data == nullptr ? 0.0 : rows_.offsets[out_];
    return TraceWork{.flops = 2 * (n + kept) * kTileTokens, .bytes = 4 * (n + 2.0 * in_) * kTileTokens};
  });
  FusedBackward(ColumnRuns(), dy, x, dx, partial);
  if (!reserve_by_rows_) return;
  const CandidateRuns reserve{.runs = out_,
                              .others = in_,
                              .begins = reserve_.offsets.data(),
                              .kept_ends = reserve_.offsets.data(),
                              .indices = reserve_.indices.data()};
  FusedBackward(reserve, x, dy, {}, partial + columns_.offsets[in_]);
}

void CandidateMatrix::SumPartials(std::span<const float* const> partials, bool add, float* gradient,
                                  ThreadPool& pool) const {
  const int64_t by_columns = columns_.offsets.empty() ? 0 : columns_.offsets[in_];
  const int64_t parts = 4 * int64_t{pool.threads()};
  const TraceSpan span("candidates.sum_partials", [&] {
    const auto n = static_cast<double>(candidates_);
    return TraceWork{.bytes = 4 * n * (2 + static_cast<double>(partials.size())), .threads = pool.threads()};
  });
  pool.Run(parts, [&](int64_t part, int) {
    const int64_t begin = candidates_ * part / parts, end = candidates_ * (part + 1) / parts;
    SumAndScatter(partials, begin, std::min(end, by_columns), columns_, 0, add, gradient);
    SumAndScatter(partials, std::max(begin, by_columns), end, reserve_, by_columns, add, gradient);
  });
}

size_t CandidateMatrix::bytes() const {
  return (row_offsets_.size() + kept_ends_.size()) * sizeof(uint32_t) + col_indices_.size() * sizeof(uint16_t) +
         transpose_.bytes() + rows_.bytes() + columns_.bytes() + reserve_.bytes();
}

}  // namespace filigree::kernels
