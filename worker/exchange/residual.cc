#include "worker/exchange/residual.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/base/check.h"

namespace filigree::exchange {
namespace {

// Entries of one row of a matrix: its columns and where the first value stands.
struct RowEntries {
  const uint16_t* columns = nullptr;  // null: all of them
  int64_t begin = 0, end = 0;

  int64_t column(int64_t e) const { return columns == nullptr ? e - begin : columns[e]; }
};

RowEntries RowOf(const kernels::PatternView* candidates, int64_t row, int64_t cols) {
  if (candidates == nullptr) return {nullptr, row * cols, (row + 1) * cols};
  return {candidates->col_indices, candidates->row_offsets[row], candidates->row_offsets[row + 1]};
}

// Of every value after a change, where it stood before.
std::vector<uint32_t> SourcesOf(const kernels::PatternView* before, const kernels::PatternView& after) {
  std::vector<uint32_t> sources(after.row_offsets[after.rows], model::kNoSource);
  for (int64_t r = 0; r < after.rows; ++r) {
    const RowEntries old = RowOf(before, r, after.cols);
    int64_t from = old.begin;
    for (uint32_t e = after.row_offsets[r]; e < after.row_offsets[r + 1]; ++e) {
      while (from < old.end && old.column(from) < after.col_indices[e]) ++from;
      if (from < old.end && old.column(from) == after.col_indices[e]) sources[e] = static_cast<uint32_t>(from);
    }
  }
  return sources;
}

}  // namespace

Residual::Residual(std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool)
    : pool_(pool), layout_(std::move(layout)), known_(*layout_), arena_(layout_) {}

void Residual::Follow() {
  std::vector<std::vector<uint32_t>> sources(layout_->size());
  model::Sources changed{std::vector<const uint32_t*>(layout_->size())};
  pool_.Run(layout_->size(), [&](int64_t t, int) {
    const auto tensor = static_cast<int>(t);
    if (layout_->version(tensor) == known_.version(tensor)) return;
    CHECK(layout_->candidates(tensor) != nullptr, "tensor {} is whole again", tensor);
    sources[t] = SourcesOf(known_.candidates(tensor), *layout_->candidates(tensor));
    changed.of[t] = sources[t].data();
  });
  if (std::any_of(changed.of.begin(), changed.of.end(), [](const uint32_t* of) { return of != nullptr; })) {
    model::Move(known_, changed, pool_, arena_);
    known_ = *layout_;
    model::ClearPadding(arena_);
  }
}

void Residual::Begin() {
  Follow();
  const std::span<float> now = values();
  if (before_.size() < now.size()) before_ = kernels::Buffer<float>(now.size());
  std::copy(now.begin(), now.end(), before_.data());
}

void Residual::Undo() {
  const std::span<float> now = values();
  std::copy_n(before_.data(), now.size(), now.data());
}

}  // namespace filigree::exchange
