#include "kernels/candidate_topk/poor_units.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/weight_topk/entry.h"

namespace filigree::kernels {
namespace {

// Bits set in [first, last) of a bitmap.
int64_t CountBits(const uint64_t* bits, int64_t first, int64_t last) {
  if (first == last) return 0;
  const int64_t word = first / 64, end = (last - 1) / 64;
  const uint64_t low = ~uint64_t{0} << (first % 64), high = ~uint64_t{0} >> (63 - (last - 1) % 64);
  if (word == end) return std::popcount(bits[word] & low & high);
  int64_t count = std::popcount(bits[word] & low) + std::popcount(bits[end] & high);
  for (int64_t i = word + 1; i < end; ++i) count += std::popcount(bits[i]);
  return count;
}

// Takes e into best[0, count), descending, if it is large enough. Short lists without branches, as which way they go is
// chance.
void Take(Entry e, Entry* best, int64_t count) {
  constexpr int64_t kShort = 8;
  if (count > kShort) {
    if (e > best[count - 1]) InsertEntry(e, best, count);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const Entry here = best[i];
    best[i] = std::max(here, e);
    e = std::min(here, e);
  }
}

// Keeps best[0, count), where 0 is no entry. Returns how many there were.
int64_t KeepAll(const Entry* best, int64_t count, uint64_t* kept) {
  int64_t i = 0;
  for (; i < count && best[i] != 0; ++i) Keep(IndexOf(best[i]), kept);
  return i;
}

int64_t FillRows(const PatternView& pattern, const float* w, int64_t alive, uint64_t* kept) {
  thread_local std::vector<Entry> best;
  best.resize(alive);
  int64_t added = 0;
  for (int r = 0; r < pattern.rows; ++r) {
    const int64_t first = pattern.row_offsets[r], last = pattern.row_offsets[r + 1];
    const int64_t missing = std::min(alive, last - first) - CountBits(kept, first, last);
    if (missing <= 0) continue;
    std::fill_n(best.begin(), missing, 0);
    for (int64_t e = first; e < last; ++e) {
      if (!IsKept(kept, e)) Take(MakeEntry(MagnitudeBits(w[e]), e), best.data(), missing);
    }
    added += KeepAll(best.data(), missing, kept);
  }
  return added;
}

int64_t FillColumns(const PatternView& pattern, const float* w, int64_t alive, uint64_t* kept) {
  thread_local std::vector<int32_t> missing;  // per column
  thread_local std::vector<Entry> best;       // [cols][alive], the first missing[c] of which are used
  missing.assign(pattern.cols, static_cast<int32_t>(alive));
  for (int64_t word = 0; word < pattern.words(); ++word) {
    for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1) {
      --missing[pattern.col_indices[word * 64 + std::countr_zero(bits)]];
    }
  }
  if (std::all_of(missing.begin(), missing.end(), [](int32_t m) { return m <= 0; })) return 0;
  best.assign(static_cast<size_t>(pattern.cols) * alive, 0);
  const int64_t nnz = pattern.nnz();
  for (int64_t e = 0; e < nnz; ++e) {
    const int c = pattern.col_indices[e];
    if (missing[c] <= 0 || IsKept(kept, e)) continue;
    Take(MakeEntry(MagnitudeBits(w[e]), e), best.data() + c * alive, missing[c]);
  }
  int64_t added = 0;
  for (int c = 0; c < pattern.cols; ++c) added += KeepAll(best.data() + c * alive, std::max(missing[c], 0), kept);
  return added;
}

}  // namespace

int64_t MinimumOf(const PatternView& pattern, const CandidateSelection& selection) {
  const int64_t alive = std::max(selection.min_alive, 0);
  if (selection.unit == Unit::kNone || alive == 0) return 0;
  std::vector<int64_t> sizes(selection.unit == Unit::kRow ? pattern.rows : pattern.cols);
  if (selection.unit == Unit::kRow) {
    for (int r = 0; r < pattern.rows; ++r) sizes[r] = pattern.row_offsets[r + 1] - pattern.row_offsets[r];
  } else {
    for (int64_t e = 0; e < pattern.nnz(); ++e) ++sizes[pattern.col_indices[e]];
  }
  int64_t sum = 0;
  for (const int64_t size : sizes) sum += std::min(alive, size);
  return sum;
}

int64_t FillPoorUnits(const PatternView& pattern, const float* w, const CandidateSelection& selection, uint64_t* kept) {
  if (selection.unit == Unit::kNone || selection.min_alive <= 0) return 0;
  // A unit has no more entries than that.
  const int64_t longest = selection.unit == Unit::kRow ? pattern.cols : pattern.rows;
  const int64_t alive = std::min<int64_t>(selection.min_alive, longest);
  return (selection.unit == Unit::kRow ? FillRows : FillColumns)(pattern, w, alive, kept);
}

}  // namespace filigree::kernels
