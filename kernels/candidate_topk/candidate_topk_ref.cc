#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/candidate_topk/candidate_topk.h"
#include "kernels/weight_topk/entry.h"

namespace filigree::kernels::ref {
namespace {

// Keeps the `count` first of `entries` in the order of selection.
void KeepLargest(std::vector<Entry> entries, int64_t count, uint64_t* kept) {
  std::sort(entries.begin(), entries.end(), std::greater<>());
  for (int64_t i = 0; i < count; ++i) Keep(IndexOf(entries[i]), kept);
}

}  // namespace

void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection, uint64_t* kept) {
  const auto& [k, min_alive, unit] = selection;
  CHECK(0 <= k && k <= pattern.nnz(), "k = {} of {} candidates", k, pattern.nnz());
  std::fill_n(kept, pattern.words(), 0);
  std::vector<std::vector<Entry>> units(unit == Unit::kRow ? pattern.rows : unit == Unit::kColumn ? pattern.cols : 0);
  for (int r = 0; r < pattern.rows && !units.empty(); ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      units[unit == Unit::kRow ? r : pattern.col_indices[e]].push_back(MakeEntry(MagnitudeBits(w[e]), e));
    }
  }
  int64_t left = k;
  for (const std::vector<Entry>& members : units) {
    const int64_t count = std::min<int64_t>(std::max(min_alive, 0), static_cast<int64_t>(members.size()));
    CHECK(count <= left, "min_alive = {} for {} units asks for more than k = {}", min_alive, units.size(), k);
    KeepLargest(members, count, kept);
    left -= count;
  }
  std::vector<Entry> rest;
  for (int64_t e = 0; e < pattern.nnz(); ++e) {
    if (!IsKept(kept, e)) rest.push_back(MakeEntry(MagnitudeBits(w[e]), e));
  }
  KeepLargest(std::move(rest), left, kept);
}

}  // namespace filigree::kernels::ref
