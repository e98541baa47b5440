#ifndef FILIGREE_WORKER_EXCHANGE_SHARD_SCAN_H_
#define FILIGREE_WORKER_EXCHANGE_SHARD_SCAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/weight_topk/entry.h"
#include "worker/exchange/matrix_part.h"
#include "worker/exchange/rank_search.h"

// Passes over a run of consecutive entries of a matrix that lie with this rank. Magnitudes are the bits of |w|
// (kernels/weight_topk/entry.h). `index` is that of w[0] in the whole matrix.

namespace filigree::exchange {

// Entries that a search may still need, so that it does not read all weights again; given up where they are many.
struct EntryList {
  std::vector<kernels::Entry> entries;
  size_t room = 0;  // at most so many
  bool overflown = false;

  void Clear(size_t new_room) {
    entries.clear();
    room = new_room;
    overflown = false;
  }
  void Add(kernels::Entry e) {
    if (entries.size() < room) {
      entries.push_back(e);
    } else {
      overflown = true;
    }
  }
};

// inside[(bits - begin) >> shift]++ for bits in [begin, end), which also go to `list`. Returns how many are >= end;
// their bits are set in `kept`, a bitmap over the whole matrix, unless it is null.
uint64_t ScanRun(const float* w, int64_t index, int64_t n, const Look& look, uint64_t* inside, EntryList& list,
                 uint64_t* kept);

// Sets the bits of entries with magnitude >= least in a bitmap over the whole matrix.
void MarkRun(const float* w, int64_t index, int64_t n, int64_t least, uint64_t* kept);

// Calls f(w, index, n) for the runs of the parts' rows [row_begin, row_end) of a matrix with `cols` columns: long ones
// where rows follow one another.
template <typename F>
void ForEachRun(std::span<const MatrixPart> parts, int64_t cols, int64_t row_begin, int64_t row_end, F f) {
  for (const MatrixPart& part : parts) {
    const Slice& slice = part.slice;
    const int64_t begin = row_begin > slice.row_begin ? row_begin : slice.row_begin;
    const int64_t end = row_end < slice.row_end ? row_end : slice.row_end;
    if (begin >= end || slice.cols() == 0) continue;
    if (slice.cols() == cols && part.stride == cols) {
      f(part.row(begin), begin * cols, (end - begin) * cols);
      continue;
    }
    for (int64_t r = begin; r < end; ++r) f(part.row(r), r * cols + slice.col_begin, slice.cols());
  }
}

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_SHARD_SCAN_H_
