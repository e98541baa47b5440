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

  int64_t UnitOf(int64_t index) const { return unit == Unit::kRow ? index / cols : index % cols; }
};

// What a selection leaves for the next one.
struct Selected {
  float value = 0;
  std::vector<int32_t> unit_bounds;
};

// In three reads, whatever the weights are.
Selected SelectFromScratch(const float* w, const Task& task, ThreadPool& pool, uint64_t* kept);

// In one read, by looking only at entries within `spread` of `expected` and at those above the units' bounds. Returns
// false where these do not decide the selection; kept is then undefined. `unit_bounds` has a bound a unit.
bool SelectNear(const float* w, const Task& task, float expected, float spread, ThreadPool& pool, uint64_t* kept,
                const std::vector<int32_t>& unit_bounds, Selected& selected);

// The bound for a unit whose `alive`-th largest magnitude has these bits: a little below, and above zero, as zeros may
// be many.
int32_t UnitBound(int32_t bits);

// For units that need none because the threshold is low enough for them.
inline constexpr int32_t kNoUnitBound = 0x7fffffff;

// Words a task of a pass.
inline constexpr int64_t kWordsPerTask = 1024;

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_SELECT_H_
