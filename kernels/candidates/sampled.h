#ifndef FILIGREE_KERNELS_CANDIDATES_SAMPLED_H_
#define FILIGREE_KERNELS_CANDIDATES_SAMPLED_H_

#include <cstddef>
#include <cstdint>

#include "kernels/base/bf16_row.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/pattern.h"
#include "kernels/csr/pattern_transpose.h"

// The gradient of a linear layer's weights at the candidates, of one tile, in an order that suits the caches:
//
//   partial[i] += sum over t of dy[row, t] * x[col, t]      for candidate i of the order
//
// Of W's two sides the longer one is the `other`, the shorter one the `shared`. The candidates of each row (column) of
// the shared side are cut, ascending, into groups of four; what is left into one of two and one of one. The order has
// all groups of four, then those of two, then those of one; each kind by the window (kWindow channels of the other side
// that the group's first candidate lies in), then by the shared row, so
//
//   - four candidates read one row of the shared tile, which passes through L2 once a window,
//   - rows of the other tile come from L1 (a window and what its groups reach beyond) and are fetched about once,
//   - each kind is one flat loop over vectors of candidates: no branch depends on where they lie.
//
// Where rows of x come in ascending windows they are fetched from memory ahead, in a stream.
//
// Measured and no faster: fetching the rows of every candidate ahead, blocks that groups may not leave, wider and
// narrower windows, a kernel that forms dX on the way (it would pay only where every candidate is kept).
// One Zen 4 core, tiles in L2, ns a candidate: 1.7 at density 1/16, 2.0 at 1/32, 2.3 at 1/64, 2.9 at 1/250; what the
// multiply-adds need is 1.1, what reading 256 bytes from L2 would need 2.2.

namespace filigree::kernels {

class SampledOrder {
 public:
  // Positions changed. Parallel over the shared side, the same for any threads.
  void Build(const PatternView& pattern, ThreadPool& pool);

  int64_t size() const { return ends_[2]; }
  bool shares_rows() const { return shares_rows_; }  // the shared side: rows of W, hence dy
  // Where the groups of four, of two and of one end, in candidates.
  const uint32_t* ends() const { return ends_; }
  // Of every group: the shared row. Of every candidate: the other row, and its number in the pattern. Both rows have
  // kPadding zeros behind them.
  const uint16_t* shared() const { return shared_.data(); }
  const uint16_t* others() const { return others_.data(); }
  const uint32_t* source() const { return source_.data(); }
  size_t bytes() const;
  // What Build writes of [rows][cols] with so many candidates at most, beforehand; arrays are given a little more.
  static int64_t BytesOf(int64_t rows, int64_t cols, int64_t candidates, int threads);

  static constexpr int kKinds = 3, kWindow = 96, kPadding = 16;

 private:
  bool shares_rows_ = false;
  PatternTranspose columns_;  // where columns are shared
  uint32_t ends_[kKinds] = {};
  Buffer<uint16_t> shared_, others_;
  Buffer<uint32_t> source_;
  Buffer<uint32_t> next_;  // per chunk, kind and window: where its next group goes
};

// Adds the tile's shares to partial[order.size()]. With x as bf16: the same bits as with x widened.
void SampledGradient(const SampledOrder& order, ConstTile dy, ConstTile x, float* partial);
void SampledGradient(const SampledOrder& order, ConstTile dy, ConstBf16Tile x, float* partial);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_SAMPLED_H_
