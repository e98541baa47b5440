#include "kernels/candidates/sampled.h"

#include <algorithm>

namespace filigree::kernels {
namespace {

constexpr int kSizes[SampledOrder::kKinds] = {4, 2, 1};

template <typename T>
void Grow(Buffer<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer = Buffer<T>(static_cast<size_t>(size + size / 8));
}

// The candidates of every shared row.
struct Lines {
  int count = 0, others = 0;
  const uint32_t* offsets = nullptr;
  const uint16_t* indices = nullptr;
  const uint32_t* source = nullptr;  // null: the index itself

  // Calls visit(kind, first candidate, line) for every group of the lines [begin, end).
  template <typename Visit>
  void ForEachGroup(int begin, int end, Visit visit) const {
    for (int line = begin; line < end; ++line) {
      uint32_t from = offsets[line];
      for (int kind = 0; kind < SampledOrder::kKinds; ++kind) {
        for (; from + kSizes[kind] <= offsets[line + 1]; from += kSizes[kind]) visit(kind, from, line);
      }
    }
  }
};

}  // namespace

// A counting sort of the groups, stable: chunk k of the lines places its groups after those of chunks before it.
void SampledOrder::Build(const PatternView& pattern, ThreadPool& pool) {
  shares_rows_ = pattern.rows <= pattern.cols;
  if (!shares_rows_) columns_.Build(pattern, pool);
  const Lines lines = shares_rows_
                          ? Lines{pattern.rows, pattern.cols, pattern.row_offsets, pattern.col_indices, nullptr}
                          : Lines{pattern.cols, pattern.rows, columns_.offsets(), columns_.rows(), columns_.source()};
  const int windows = (lines.others + kWindow - 1) / kWindow, places = kKinds * windows;
  const int64_t chunks = pool.threads() == 1 ? 1 : 4 * pool.threads(), size = pattern.nnz();
  const auto line = [&](int64_t chunk) { return static_cast<int>(lines.count * chunk / chunks); };
  const auto place = [&](int kind, uint32_t from) { return kind * windows + lines.indices[from] / kWindow; };
  Grow(next_, chunks * places);
  Grow(shared_, size + kPadding);
  Grow(others_, size + kPadding);
  Grow(source_, size);
  pool.Run(chunks, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * places;
    std::fill_n(next, places, 0u);
    lines.ForEachGroup(line(chunk), line(chunk + 1), [&](int kind, uint32_t from, int) { ++next[place(kind, from)]; });
  });
  uint32_t groups = 0, first[kKinds], before[kKinds];  // of a kind: its first group and candidate
  for (int kind = 0; kind < kKinds; ++kind) {
    first[kind] = groups;
    before[kind] = kind == 0 ? 0 : ends_[kind - 1];
    for (int p = kind * windows; p < (kind + 1) * windows; ++p) {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const uint32_t count = next_[chunk * places + p];
        next_[chunk * places + p] = groups;
        groups += count;
      }
    }
    ends_[kind] = before[kind] + (groups - first[kind]) * kSizes[kind];
  }
  pool.Run(chunks, [&](int64_t chunk, int) {
    uint32_t* next = next_.data() + chunk * places;
    lines.ForEachGroup(line(chunk), line(chunk + 1), [&](int kind, uint32_t from, int shared) {
      const uint32_t group = next[place(kind, from)]++;
      const uint32_t to = before[kind] + (group - first[kind]) * kSizes[kind];
      shared_[group] = static_cast<uint16_t>(shared);
      for (int i = 0; i < kSizes[kind]; ++i) {
        others_[to + i] = lines.indices[from + i];
        source_[to + i] = lines.source == nullptr ? from + i : lines.source[from + i];
      }
    });
  });
  std::fill_n(shared_.data() + groups, kPadding, uint16_t{0});
  std::fill_n(others_.data() + size, kPadding, uint16_t{0});
}

size_t SampledOrder::bytes() const {
  return columns_.bytes() + (shared_.size() + others_.size()) * sizeof(uint16_t) +
         (source_.size() + next_.size()) * sizeof(uint32_t);
}

// Groups: a quarter of the candidates, and what is left of a line of 4 n + 3 is two more.
int64_t SampledOrder::BytesOf(int64_t rows, int64_t cols, int64_t candidates, int threads) {
  constexpr int64_t kIndex = sizeof(uint16_t), kSource = sizeof(uint32_t);
  const int64_t lines = std::min(rows, cols), windows = (std::max(rows, cols) + kWindow - 1) / kWindow;
  const int64_t groups = std::min(candidates, candidates / 4 + 2 * lines);
  const int64_t next = (threads == 1 ? 1 : 4 * threads) * kKinds * windows * kSource;
  const int64_t transpose = rows > cols ? PatternTranspose::BytesOf(rows, cols, candidates, threads) : 0;
  return groups * kIndex + candidates * (kIndex + kSource) + next + transpose;
}

}  // namespace filigree::kernels
