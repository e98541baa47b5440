#include <algorithm>
#include <atomic>
#include <bit>
#include <functional>

#include "kernels/weight_topk/scan.h"
#include "kernels/weight_topk/select.h"

// One read. Entries above the window are kept as they come; a unit that has enough of them has all its largest among
// them, so that only the other, poor units need looking at: their candidates were collected too.

namespace filigree::kernels {
namespace {

constexpr int kMostCounted = 255;  // of a byte in WindowFindings::unit_above
constexpr int64_t kMostLost = 16;  // units whose bound was too high: looked at again one by one, if they are few

// Reads w. False if the candidates are too many.
bool Scan(const float* w, const Task& task, const Window& window, ThreadPool& pool, uint64_t* kept,
          std::vector<WindowFindings>& found) {
  const int64_t most_candidates = task.numel / 16 + 1024;
  std::atomic<bool> too_many = false;
  pool.Run((task.words + kWordsPerTask - 1) / kWordsPerTask, [&](int64_t i, int worker) {
    if (too_many.load(std::memory_order_relaxed)) return;
    const WordRange words = {i * kWordsPerTask, std::min(task.words, (i + 1) * kWordsPerTask)};
    ScanWindow(w, task, window, words, kept, found[worker]);
    if (static_cast<int64_t>(found[worker].candidates.size()) > most_candidates) too_many = true;
  });
  return !too_many;
}

// Step 1 for units with fewer than `alive` entries above the window.
class PoorUnits {
 public:
  PoorUnits(const Task& task, const std::vector<WindowFindings>& found) : task_(task), missing_(task.units) {
    for (int64_t u = 0; u < task.units; ++u) {
      int64_t above = 0;
      for (const WindowFindings& f : found) above += f.unit_above[u];
      missing_[u] = static_cast<uint8_t>(std::max<int64_t>(0, task.alive - above));
      any_ |= missing_[u] > 0;
    }
    if (any_) best_.resize(task.units * task.alive);
  }

  void Take(Entry e) {
    if (!any_) return;
    const int64_t u = task_.UnitOf(IndexOf(e));
    Entry* best = best_.data() + u * task_.alive;
    if (missing_[u] > 0 && best[missing_[u] - 1] < e) InsertEntry(e, best, missing_[u]);
  }

  // Keeps what is missing, sets the bounds of all units; returns how many entries were kept, -1 to give up.
  int64_t Finish(const float* w, uint64_t* kept, std::vector<int32_t>& bounds) {
    bounds.assign(task_.units, kNoUnitBound);
    int64_t total = 0, lost = 0;
    for (int64_t u = 0; u < task_.units; ++u) {
      if (missing_[u] == 0) continue;
      Entry* best = best_.data() + u * task_.alive;
      int64_t first = 0, last = missing_[u];
      if (best[last - 1] == 0) {
        if (++lost > kMostLost) return -1;
        LookAgain(w, u, best);
        first = task_.alive - missing_[u];  // those before are above the window
        last = task_.alive;
      }
      for (int64_t i = first; i < last; ++i) Keep(IndexOf(best[i]), kept);
      total += missing_[u];
      bounds[u] = UnitBound(BitsOf(best[last - 1]));
    }
    return total;
  }

 private:
  void LookAgain(const float* w, int64_t u, Entry* best) const {
    if (task_.unit == Unit::kRow) {
      TopOfRow(w + u * task_.cols, u * task_.cols, task_.cols, task_.alive, best);
      return;
    }
    std::fill_n(best, task_.alive, 0);
    for (int64_t r = 0; r < task_.rows; ++r) {
      const int64_t index = r * task_.cols + u;
      const Entry e = MakeEntry(MagnitudeBits(w[index]), index);
      if (best[task_.alive - 1] < e) InsertEntry(e, best, task_.alive);
    }
  }

  const Task& task_;
  std::vector<uint8_t> missing_;
  bool any_ = false;
  std::vector<Entry> best_;  // [units][alive], the first missing_[u] of which are used
};

// Step 2 inside the window: keeps the `wanted` largest of `rest`. The magnitude of the last is returned.
float KeepLargest(std::vector<Entry>& rest, int64_t wanted, uint64_t* kept) {
  std::nth_element(rest.begin(), rest.begin() + (wanted - 1), rest.end(), std::greater<>());
  for (int64_t i = 0; i < wanted; ++i) Keep(IndexOf(rest[i]), kept);
  return std::bit_cast<float>(BitsOf(rest[wanted - 1]));
}

}  // namespace

bool SelectNear(const float* w, const Task& task, float expected, float spread, ThreadPool& pool, uint64_t* kept,
                const std::vector<int32_t>& unit_bounds, Selected& selected) {
  if (task.alive > kMostCounted) return false;
  int32_t above = kNoUnitBound, lowest = kNoUnitBound;  // without step 2 there is no window
  if (task.by_rank > 0) {
    above = MagnitudeBits(expected * (1 + spread));
    lowest = std::max(MagnitudeBits(expected * (1 - spread)), 1);
  }
  std::vector<int32_t> below(std::max<int64_t>(task.units, 1), lowest - 1);
  for (int64_t u = 0; u < task.units; ++u) below[u] = std::min(unit_bounds[u], lowest) - 1;
  std::vector<WindowFindings> found(pool.threads());
  for (WindowFindings& f : found) f.unit_above.resize(below.size());
  if (!Scan(w, task, {above, below.data()}, pool, kept, found)) return false;

  PoorUnits poor(task, found);
  int64_t total = 0;
  for (const WindowFindings& f : found) {
    total += f.above;
    for (const Entry e : f.candidates) poor.Take(e);
  }
  const int64_t alive_below = poor.Finish(w, kept, selected.unit_bounds);
  if (alive_below < 0) return false;
  total += alive_below;

  const int64_t wanted = task.k - total;
  if (task.by_rank == 0) return wanted == 0;
  std::vector<Entry> rest;
  for (const WindowFindings& f : found) {
    for (const Entry e : f.candidates) {
      if (BitsOf(e) >= lowest && !IsKept(kept, IndexOf(e))) rest.push_back(e);
    }
  }
  if (wanted < 1 || wanted > static_cast<int64_t>(rest.size())) return false;
  selected.value = KeepLargest(rest, wanted, kept);
  return true;
}

}  // namespace filigree::kernels
