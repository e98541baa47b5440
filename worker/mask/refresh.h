#ifndef FILIGREE_WORKER_MASK_REFRESH_H_
#define FILIGREE_WORKER_MASK_REFRESH_H_

#include <cstdint>
#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "kernels/weight_topk/weight_topk.h"

// Membership of candidate sets (docs/policy.md). C is the set, its mask the k candidates of largest weight, the rest is
// its reserve. A refresh replaces a part of the reserve:
//
//   wanted reserve     r' = |C'| - k
//   who stays          the mask, always, and the best min(floor((1 - drop) r'), |reserve|) of the reserve by
//                      u = |m| / (sqrt(v) + eps); ties: the lower index stays; NaN is the lowest u
//   newcomers          as many as |C'| then lacks, from outside those who stay (so who was dropped may be drawn again,
//                      but comes back as a newcomer)
//
// Newcomers come first into units that have too few, then from `ranked`, in its order, and all others are drawn without
// replacement with probability proportional to row_weight[o] * col_weight[i] (newcomers.h). |C'| is met exactly,
// whatever the weights are; where they leave no choice the draw is uniform over what is free.
//
// Threads        in parallel over rows.
// Determinism    bitwise, for any number of threads: draws are functions of (seed, stream, step, row).

namespace filigree::mask {

inline constexpr uint32_t kNewcomer = UINT32_MAX;

// What the next state has for candidates, and where each of them comes from.
struct Membership {
  kernels::Pattern pattern;
  kernels::Buffer<uint32_t> source;  // [nnz]: entry of the old state it was, or kNewcomer
};

struct RefreshInput {
  kernels::PatternView pattern;
  const float *m = nullptr, *v = nullptr;  // one float a candidate
  const uint64_t* kept = nullptr;          // the mask: bitmap over the entries, k of them; null: all
  int64_t candidates = 0;                  // |C'|, k <= |C'| <= rows * cols
  double eps = 0;
  double drop = 0.5;

  // Weights of rows [rows] and columns [cols], null: all alike. Negative ones and what is no finite number count as 0.
  const float *row_weight = nullptr, *col_weight = nullptr;
  // Global indices r * cols + c, each at most once, that come before every draw but that for short units; those that
  // are candidates already are passed over.
  std::span<const uint32_t> ranked;

  // Every unit gets at least so many candidates (min alive's units need them), every row and every column at least so
  // many of them in the reserve: as far as they have positions and the newcomers reach, lower columns first, then lower
  // rows.
  kernels::Unit unit = kernels::Unit::kNone;
  int unit_candidates = 0;
  int line_reserve = 0;

  uint64_t seed = 0, stream = 0;  // a stream a tensor
  int64_t step = 0;
};

Membership Refresh(const RefreshInput& input, kernels::ThreadPool& pool);

// The step from dense storage to candidates: the mask and the best others by u (ties: the lower index), no newcomers.
// `source` is the global index. kept is a bitmap over rows * cols (null: all); m and v are dense; k <= candidates <=
// rows * cols.
struct NarrowInput {
  int rows = 0, cols = 0;
  const float *m = nullptr, *v = nullptr;
  const uint64_t* kept = nullptr;
  int64_t candidates = 0;
  double eps = 0;
};
Membership Narrow(const NarrowInput& input, kernels::ThreadPool& pool);

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_REFRESH_H_
