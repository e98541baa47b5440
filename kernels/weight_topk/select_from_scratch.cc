#include <algorithm>
#include <bit>
#include <functional>

#include "kernels/weight_topk/scan.h"
#include "kernels/weight_topk/select.h"

// A radix search in two digits: upper 16 bits of all magnitudes, then the lower 15 of those in the right bin. The
// units' largest are found on the way and taken out of both histograms.

namespace filigree::kernels {
namespace {

constexpr int64_t kEntriesPerTask = kWordsPerTask * 64;

int64_t TasksOf(int64_t n, int64_t per_task) { return (n + per_task - 1) / per_task; }

// One histogram a worker.
class Histograms {
 public:
  Histograms(int workers, int bins) : bins_(bins), counts_(static_cast<size_t>(workers) * bins) {}

  uint32_t* of(int worker) { return counts_.data() + static_cast<size_t>(worker) * bins_; }
  void Clear() { std::fill(counts_.begin(), counts_.end(), 0); }
  // All of them into the first.
  const uint32_t* Sum() {
    for (size_t i = bins_; i < counts_.size(); ++i) counts_[i % bins_] += counts_[i];
    return counts_.data();
  }

 private:
  size_t bins_;
  std::vector<uint32_t> counts_;
};

// Bits that surely more than k entries exceed, as far as a sample can tell, so that not all need counting; -1 if k is
// not small.
int32_t CountingFloor(const float* w, const Task& task) {
  constexpr int64_t kSample = 4096;
  if (task.numel < 16 * kSample) return -1;
  const int64_t rank = task.k * 3 / 2 / (task.numel / kSample) + 32;
  if (rank >= kSample / 2) return -1;
  std::vector<int32_t> sample(kSample);
  for (int64_t i = 0; i < kSample; ++i) sample[i] = MagnitudeBits(w[i * (task.numel / kSample) + i % 61]);
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<>());
  return sample[rank] - 1;
}

void CountAll(const float* w, const Task& task, ThreadPool& pool, int32_t floor, Histograms& upper) {
  pool.Run(TasksOf(task.numel, kEntriesPerTask), [&](int64_t i, int worker) {
    const int64_t first = i * kEntriesPerTask;
    CountUpper(w + first, std::min(kEntriesPerTask, task.numel - first), floor, upper.of(worker));
  });
}

// The first read: every unit's largest into best[units][alive], and the upper histogram of what exceeds the floor.
void ReadUnits(const float* w, const Task& task, ThreadPool& pool, int32_t floor, std::vector<Entry>& best,
               Histograms& upper) {
  const bool count = task.by_rank > 0;
  if (task.alive == 0) {
    CountAll(w, task, pool, floor, upper);
  } else if (task.unit == Unit::kRow) {
    const int64_t rows_per_task = std::max<int64_t>(1, kEntriesPerTask / task.cols);
    pool.Run(TasksOf(task.rows, rows_per_task), [&](int64_t i, int worker) {
      for (int64_t r = i * rows_per_task; r < std::min(task.rows, (i + 1) * rows_per_task); ++r) {
        const float* row = w + r * task.cols;
        TopOfRow(row, r * task.cols, task.cols, task.alive, best.data() + r * task.alive);
        if (count) CountUpper(row, task.cols, floor, upper.of(worker));
      }
    });
  } else {
    const int64_t columns_per_task = ColumnsPerTask(task.rows);
    pool.Run(TasksOf(task.cols, columns_per_task), [&](int64_t i, int worker) {
      const int64_t first = i * columns_per_task, n = std::min(columns_per_task, task.cols - first);
      TopOfColumns(w, task.rows, task.cols, first, n, task.alive, best.data() + first * task.alive);
      for (int64_t r = 0; count && r < task.rows; ++r)
        CountUpper(w + r * task.cols + first, n, floor, upper.of(worker));
    });
  }
}

// A bin of a histogram, and how many of the entries inside are still to be kept.
struct Place {
  int32_t bin = 0;
  int64_t wanted = 0;
};

// The bin in which the `wanted`-th largest of the entries lies that are counted and not taken out.
Place Find(const uint32_t* counts, const std::vector<uint32_t>& taken_out, int64_t wanted) {
  int32_t bin = static_cast<int32_t>(taken_out.size()) - 1;
  for (; bin > 0; --bin) {
    const int64_t inside = static_cast<int64_t>(counts[bin]) - taken_out[bin];
    if (inside >= wanted) break;
    wanted -= inside;
  }
  return {bin, wanted};
}

// The upper bin of the threshold.
Place FindUpper(const float* w, const Task& task, ThreadPool& pool, int32_t floor, const std::vector<Entry>& best,
                Histograms& upper) {
  std::vector<uint32_t> taken_out(kUpperBins);
  for (const Entry e : best) taken_out[BitsOf(e) >> kLowerBits] += BitsOf(e) > floor;
  const uint32_t* counts = upper.Sum();
  int64_t counted = 0;
  for (int bin = 0; bin < kUpperBins; ++bin) counted += static_cast<int64_t>(counts[bin]) - taken_out[bin];
  if (counted >= task.by_rank) return Find(counts, taken_out, task.by_rank);
  // The sample was too optimistic: count everything.
  upper.Clear();
  CountAll(w, task, pool, -1, upper);
  return FindUpper(w, task, pool, -1, best, upper);
}

// The threshold of step 2, and how many entries equal to it step 2 keeps.
Place FindThreshold(const float* w, const Task& task, ThreadPool& pool, Place upper, const std::vector<Entry>& best) {
  Histograms lower_counts(pool.threads(), kLowerBins);
  pool.Run(TasksOf(task.numel, kEntriesPerTask), [&](int64_t i, int worker) {
    const int64_t first = i * kEntriesPerTask;
    CountLower(w + first, std::min(kEntriesPerTask, task.numel - first), upper.bin, lower_counts.of(worker));
  });
  std::vector<uint32_t> taken_out(kLowerBins);
  for (const Entry e : best) {
    if (BitsOf(e) >> kLowerBits == upper.bin) ++taken_out[BitsOf(e) & (kLowerBins - 1)];
  }
  const Place lower = Find(lower_counts.Sum(), taken_out, upper.wanted);
  return {upper.bin << kLowerBits | lower.bin, lower.wanted};
}

// The last read: kept = everything above the threshold, the units' largest, and the first of the ties.
void Mark(const float* w, const Task& task, ThreadPool& pool, const std::vector<Entry>& best, Place threshold,
          uint64_t* kept) {
  const auto words_of = [&](int64_t i) {
    return WordRange{i * kWordsPerTask, std::min(task.words, (i + 1) * kWordsPerTask)};
  };
  std::vector<int64_t> ties(TasksOf(task.words, kWordsPerTask));
  pool.Run(static_cast<int64_t>(ties.size()),
           [&](int64_t i, int) { ties[i] = MarkAbove(w, task.numel, threshold.bin, words_of(i), kept); });
  for (const Entry e : best) {
    Keep(IndexOf(e), kept);
    if (BitsOf(e) == threshold.bin) --ties[IndexOf(e) / kEntriesPerTask];
  }
  int64_t left = threshold.wanted;
  for (int64_t& count : ties) {
    count = std::min(count, left);
    left -= count;
  }
  pool.Run(static_cast<int64_t>(ties.size()), [&](int64_t i, int) {
    if (ties[i] > 0) KeepTies(w, task.numel, threshold.bin, words_of(i), ties[i], kept);
  });
}

}  // namespace

Selected SelectFromScratch(const float* w, const Task& task, int32_t unit_margin, ThreadPool& pool, uint64_t* kept) {
  std::vector<Entry> best(task.units * task.alive);
  Histograms upper(pool.threads(), kUpperBins);
  const int32_t floor = task.by_rank > 0 ? CountingFloor(w, task) : -1;
  ReadUnits(w, task, pool, floor, best, upper);

  Selected selected;
  Place threshold = {0x7fffffff, 0};
  if (task.by_rank > 0) {
    threshold = FindThreshold(w, task, pool, FindUpper(w, task, pool, floor, best, upper), best);
    selected.value = std::bit_cast<float>(threshold.bin);
    Mark(w, task, pool, best, threshold, kept);
  } else {
    std::fill_n(kept, task.words, 0);
    for (const Entry e : best) Keep(IndexOf(e), kept);
  }
  selected.unit_bounds.resize(task.units, kNoUnitBound);
  for (int64_t u = 0; u < task.units && task.alive > 0; ++u) {
    const int32_t last = BitsOf(best[(u + 1) * task.alive - 1]);
    if (last <= threshold.bin) selected.unit_bounds[u] = UnitBound(last, unit_margin);
  }
  return selected;
}

}  // namespace filigree::kernels
