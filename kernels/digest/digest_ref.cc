#include <bit>
#include <span>

#include "kernels/digest/digest.h"

namespace filigree::kernels::ref {

void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums) {
  for (int a = 0; a < count; ++a) {
    for (int64_t j = 0; j < n; ++j) {
      sums[a].Add(index + static_cast<uint32_t>(j), std::bit_cast<uint32_t>(arrays[a][j]));
    }
  }
}

void AddEntries(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& sums) {
  for (const EntryRun& run : std::span(runs, static_cast<size_t>(count))) {
    for (uint32_t e = run.begin; e < run.end; ++e) {
      const uint32_t index = run.index + of.col_indices[e];
      for (int a = 0; a < of.count; ++a) sums.arrays[a].Add(index, std::bit_cast<uint32_t>(of.arrays[a][e]));
      sums.entries.Add(index, 1);
      if (of.kept != nullptr) sums.kept.Add(index, of.kept[e / 64] >> (e % 64) & 1);
    }
  }
}

}  // namespace filigree::kernels::ref
