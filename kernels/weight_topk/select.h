#ifndef FILIGREE_KERNELS_WEIGHT_TOPK_SELECT_H_
#define FILIGREE_KERNELS_WEIGHT_TOPK_SELECT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/entry.h"
#include "kernels/weight_topk/weight_topk.h"

// The two ways to a selection. Both are exact; `SelectNear` may give up.

namespace filigree::kernels {

// A selection with what follows from it.
struct Task : WeightSelection {
  explicit Task(const WeightSelection& s)
      : WeightSelection(s),
        numel(rows * cols),
        words((numel + 63) / 64),
        units(unit == Unit::kRow      ? rows
              : unit == Unit::kColumn ? cols
                                      : 0),
        unit_length(unit == Unit::kRow ? cols : rows),
        alive(units == 0 ? 0 : std::min<int64_t>(std::max(min_alive, 0), unit_length)),
        by_rank(k - units * alive) {}

  int64_t numel, words;
  int64_t units, unit_length;
  int64_t alive;    // entries a unit keeps in step 1
  int64_t by_rank;  // entries that step 2 keeps

  int64_t UnitOf(int64_t index) const {
    const auto i = static_cast<uint32_t>(index), c = static_cast<uint32_t>(cols);
    return unit == Unit::kRow ? i / c : i % c;
  }
};

// What a selection leaves for the next one.
struct Selected {
  float value = 0;
  std::vector<int32_t> unit_bounds;
  int64_t lost_units = 0;  // whose bounds were too high
};

// In three reads, whatever the weights are.
Selected SelectFromScratch(const float* w, const Task& task, int32_t unit_margin, ThreadPool& pool, uint64_t* kept);

// In one read, by looking only at entries in the guess's window and at those above the units' bounds, of which there
// must be one a unit. Returns false where these do not decide the selection; kept is then undefined.
bool SelectNear(const float* w, const Task& task, const WeightThreshold& guess, ThreadPool& pool, uint64_t* kept,
                Selected& selected);

// The bound for a unit whose `alive`-th largest magnitude has these bits: a little below, and above zero, as zeros may
// be many.
inline int32_t UnitBound(int32_t bits, int32_t margin) { return bits > margin ? bits - margin : 1; }

// For units that need none because the threshold is low enough for them.
inline constexpr int32_t kNoUnitBound = 0x7fffffff;

// What a task of a pass takes: words, or columns of a strip that fits into L2.
inline constexpr int64_t kWordsPerTask = 1024;
inline int64_t ColumnsPerTask(int64_t rows) {
  constexpr int64_t kStripEntries = int64_t{1} << 17;
  return std::clamp<int64_t>(kStripEntries / rows / 64 * 64, 64, 256);
}

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_SELECT_H_
