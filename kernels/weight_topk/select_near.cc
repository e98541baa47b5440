#include <algorithm>
#include <atomic>
#include <bit>
#include <functional>
#include <utility>

#include "kernels/weight_topk/scan.h"
#include "kernels/weight_topk/select.h"

// One read. Entries above the window are kept as they come; a unit that has enough of them has all its largest among
// them, so that only the other, poor units need looking at: their candidates were collected too.

namespace filigree::kernels {
namespace {

constexpr int kMostCounted = 255;  // of a byte in WindowFindings::unit_above

// Reads w. False if the candidates are too many.
bool Scan(const float* w, const Task& task, const Window& window, ThreadPool& pool, uint64_t* kept,
          std::vector<WindowFindings>& found) {
  const int64_t most_candidates = task.numel / 16 + 1024;
  std::atomic<bool> too_many = false;
  pool.Run((task.words + kWordsPerTask - 1) / kWordsPerTask, [&](int64_t i, int worker) {
    if (too_many.load(std::memory_order_relaxed)) return;
    const WordRange words = {i * kWordsPerTask, std::min(task.words, (i + 1) * kWordsPerTask)};
    ScanWindow(w, task, window, words, kept, found[worker]);
    if (static_cast<int64_t>(found[worker].candidate_count) > most_candidates) too_many = true;
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
    Entry* best = Best(task_.UnitOf(IndexOf(e)));
    for (int64_t i = 0; i < task_.alive; ++i) {  // without branches, as which way they go is chance
      const Entry here = best[i];
      best[i] = std::max(here, e);
      e = std::min(here, e);
    }
  }

  // Keeps what is missing, sets the bounds of all units; returns how many entries were kept.
  int64_t Finish(const float* w, ThreadPool& pool, int32_t margin, uint64_t* kept, Selected& selected) {
    std::vector<int32_t>& bounds = selected.unit_bounds;
    bounds.assign(task_.units, kNoUnitBound);
    if (!any_) return 0;
    std::vector<uint8_t> lost(task_.units);
    for (int64_t u = 0; u < task_.units; ++u) lost[u] = missing_[u] > 0 && Best(u)[missing_[u] - 1] == 0;
    selected.lost_units = std::count(lost.begin(), lost.end(), 1);
    LookAgain(w, pool, lost);

    int64_t total = 0;
    for (int64_t u = 0; u < task_.units; ++u) {
      if (missing_[u] == 0) continue;
      // Of a unit looked at again all largest are there, those above the window first.
      const Entry* best = Best(u) + (lost[u] ? task_.alive - missing_[u] : 0);
      for (int64_t i = 0; i < missing_[u]; ++i) Keep(IndexOf(best[i]), kept);
      total += missing_[u];
      bounds[u] = UnitBound(BitsOf(best[missing_[u] - 1]), margin);
    }
    return total;
  }

 private:
  Entry* Best(int64_t u) { return best_.data() + u * task_.alive; }

  // Reads the units whose bounds were too high, in full.
  void LookAgain(const float* w, ThreadPool& pool, const std::vector<uint8_t>& lost) {
    constexpr int64_t kLine = 16;  // columns of a cache line
    const bool rows = task_.unit == Unit::kRow;
    const int64_t step = rows ? 1 : kLine, longest = rows ? 1 : ColumnsPerTask(task_.rows);
    std::vector<std::pair<int64_t, int64_t>> strips;  // [first, last)
    for (int64_t u = 0; u < task_.units; ++u) {
      if (!lost[u] || (!strips.empty() && u < strips.back().second)) continue;
      const int64_t first = u / step * step, last = std::min(first + step, task_.units);
      if (!strips.empty() && strips.back().second == first && last - strips.back().first <= longest) {
        strips.back().second = last;
      } else {
        strips.emplace_back(first, last);
      }
    }
    pool.Run(static_cast<int64_t>(strips.size()), [&](int64_t i, int) {
      const auto [first, last] = strips[i];
      if (rows) {
        TopOfRow(w + first * task_.cols, first * task_.cols, task_.cols, task_.alive, Best(first));
        return;
      }
      std::vector<Entry> best((last - first) * task_.alive);
      TopOfColumns(w, task_.rows, task_.cols, first, last - first, task_.alive, best.data());
      for (int64_t u = first; u < last; ++u) {
        if (lost[u]) std::copy_n(best.data() + (u - first) * task_.alive, task_.alive, Best(u));
      }
    });
  }

  const Task& task_;
  std::vector<uint8_t> missing_;
  bool any_ = false;
  std::vector<Entry> best_;  // [units][alive] of the candidates, the first missing_[u] of which are used
};

// Step 2 inside the window: keeps the `wanted` largest of `rest`. The magnitude of the last is returned.
float KeepLargest(std::vector<Entry>& rest, int64_t wanted, uint64_t* kept) {
  std::nth_element(rest.begin(), rest.begin() + (wanted - 1), rest.end(), std::greater<>());
  for (int64_t i = 0; i < wanted; ++i) Keep(IndexOf(rest[i]), kept);
  return std::bit_cast<float>(BitsOf(rest[wanted - 1]));
}

}  // namespace

bool SelectNear(const float* w, const Task& task, const WeightThreshold& guess, ThreadPool& pool, uint64_t* kept,
                Selected& selected) {
  if (task.alive > kMostCounted) return false;
  int32_t above = kNoUnitBound, lowest = kNoUnitBound;  // without step 2 there is no window
  if (task.by_rank > 0) {
    above = MagnitudeBits(guess.expected * (1 + guess.spread));
    lowest = std::max(MagnitudeBits(guess.expected * (1 - guess.spread)), 1);
  }
  const auto upper_below = [](int32_t bits) { return static_cast<uint16_t>((bits - 1) >> kLowerBits); };
  std::vector<uint16_t> below(std::max<int64_t>(task.units, 1), upper_below(lowest));
  for (int64_t u = 0; u < task.units; ++u) below[u] = upper_below(std::clamp(guess.unit_bounds[u], 1, lowest));
  // Kept from call to call: fresh memory would cost a page fault every 500 candidates.
  thread_local std::vector<WindowFindings> found;
  found.resize(pool.threads());
  for (WindowFindings& f : found) {
    f.unit_above.assign(below.size(), 0);
    f.candidate_count = f.above = 0;
  }
  if (!Scan(w, task, {above, below.data()}, pool, kept, found)) return false;

  PoorUnits poor(task, found);
  int64_t total = 0;
  for (const WindowFindings& f : found) {
    total += f.above;
    for (size_t i = 0; i < f.candidate_count; ++i) poor.Take(f.candidates[i]);
  }
  total += poor.Finish(w, pool, guess.unit_margin, kept, selected);

  const int64_t wanted = task.k - total;
  if (task.by_rank == 0) return wanted == 0;
  std::vector<Entry> rest;
  for (const WindowFindings& f : found) {
    for (size_t i = 0; i < f.candidate_count; ++i) {
      const Entry e = f.candidates[i];
      if (BitsOf(e) >= lowest && !IsKept(kept, IndexOf(e))) rest.push_back(e);
    }
  }
  if (wanted < 1 || wanted > static_cast<int64_t>(rest.size())) return false;
  selected.value = KeepLargest(rest, wanted, kept);
  return true;
}

}  // namespace filigree::kernels
