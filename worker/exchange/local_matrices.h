#ifndef FILIGREE_WORKER_EXCHANGE_LOCAL_MATRICES_H_
#define FILIGREE_WORKER_EXCHANGE_LOCAL_MATRICES_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/exchange/matrix_part.h"
#include "worker/exchange/rank_search.h"
#include "worker/exchange/shard_scan.h"

// What one rank does alone in a distributed selection: step 1, counting its rest of step 2, marking what was decided.
// Magnitudes are the bits of |w|, in [0, kMagnitudes).

namespace filigree::exchange {

inline constexpr int64_t kMagnitudes = int64_t{1} << 31;

struct LocalMatrix {
  const ShardedMatrix* in = nullptr;
  int64_t numel = 0;
  int64_t alive = 0;                 // entries a unit keeps in step 1
  int64_t by_units = 0;              // that step 1 keeps, on all ranks
  int64_t own_rest = 0;              // entries here that step 1 does not keep
  std::vector<kernels::Entry> best;  // that step 1 keeps here where columns are units
};

// Rows of one matrix that a thread scans at once: a multiple of 64, so that no two tasks share a word of a bitmap.
struct LocalTask {
  size_t matrix = 0;
  int64_t row_begin = 0, row_end = 0;
  bool has_best = false;
  std::vector<kernels::Entry> best;  // that step 1 keeps here where rows are units
  EntryList list;                    // of magnitudes in [list_begin, list_end); empty: none
  int64_t list_begin = 0, list_end = 0;
  int64_t marked_from = kMagnitudes;  // these magnitudes are marked
};

class LocalMatrices {
 public:
  explicit LocalMatrices(kernels::ThreadPool& pool) : pool_(pool) {}

  // Clears the bitmaps and, where columns are units, does step 1; where rows are, it is done on the way through them.
  void Begin(std::span<const ShardedMatrix> matrices);

  const std::vector<LocalMatrix>& matrices() const { return matrices_; }
  const std::vector<LocalTask>& tasks() const { return tasks_; }

  // The methods below take one task each: different ones side by side.

  // Adds the task's rest inside the look to `inside`; returns how many of it are above (where that is asked for).
  uint64_t Count(size_t task, const Look& look, uint64_t* inside);

  // Forgets what a first look marked, as the threshold lies above it. Before Ties.
  void Unmark(size_t task);

  // Indices of the rest with this magnitude. After the search.
  std::vector<int64_t> Ties(size_t task, int64_t magnitude) const;

  // Step 1 and magnitudes >= least stand in the bitmap.
  void Mark(size_t task, int64_t least);

 private:
  void AddMatrix(const ShardedMatrix& in);
  void AddTasks(size_t matrix);
  void TakeColumns(LocalMatrix& matrix);
  void TakeRows(LocalTask& task);
  void ForEachRunOf(const LocalTask& task, const std::function<void(const float*, int64_t, int64_t)>& f) const;

  kernels::ThreadPool& pool_;
  std::vector<LocalMatrix> matrices_;
  std::vector<LocalTask> tasks_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_LOCAL_MATRICES_H_
