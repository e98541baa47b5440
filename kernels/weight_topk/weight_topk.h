#ifndef FILIGREE_KERNELS_WEIGHT_TOPK_WEIGHT_TOPK_H_
#define FILIGREE_KERNELS_WEIGHT_TOPK_WEIGHT_TOPK_H_

#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"

// The mask of one weight matrix: exactly k entries by magnitude, with a minimum for every unit.
//
//   1. every unit (a row, or a column) keeps its min(min_alive, unit length) entries of largest |w|,
//   2. the other k - kept so far go to the largest |w| among the rest of the whole matrix,
//   ties: the lower global index (row-major) wins, exact zeros included. NaN counts as larger than every number (NaNs
//   among themselves by payload).
//
// Source: Gao et al. 2025, section 2.

namespace filigree::kernels {

enum class Unit { kNone, kRow, kColumn };

struct WeightSelection {
  int64_t rows = 0, cols = 0;  // rows * cols < 2^32 - 1
  int64_t k = 0;               // 0 <= k <= rows * cols
  int min_alive = 0;           // with units * min(min_alive, unit length) <= k
  Unit unit = Unit::kNone;
};

// What was found, for telemetry and as the next call's guess. One object a matrix, handed from step to step.
struct WeightThreshold {
  float value =
      0;  // magnitude of the smallest entry kept by step 2; 0 if it kept none, or everything (k = rows * cols)

  // The implementation's own. Any content gives the same selection.
  float expected = 0;                // where the next threshold is looked for; 0: unknown
  float spread = 0;                  // half the width of that window, relative
  std::vector<int32_t> unit_bounds;  // per unit: bits of a magnitude that its min_alive largest exceed by a margin
  int32_t unit_margin = 1 << 20;     // that margin, in bits of a float: 1 << 23 is an octave
};

// kept: bitmap (kernels/csr/csr.h), ceil(rows * cols / 64) words, all written, padding bits 0.
// threshold: in: the last step's (a default one: none); out: this one's. A close one means one read of the weights; a
// wrong one costs only time. May be null.
// Determinism: bitwise, for any threads, any guess.
// Cost: warm, one read of w; cold, about three. k = 0 and k = rows * cols read nothing.
void SelectWeights(const float* w, const WeightSelection& selection, WeightThreshold* threshold, ThreadPool& pool,
                   uint64_t* kept);

// w[i] = kept(i) ? w[i] * factor : 0. One pass. factor 1 leaves kept weights as they are, bit for bit.
void ApplySelection(const uint64_t* kept, int64_t numel, float factor, ThreadPool& pool, float* w);

namespace ref {
void SelectWeights(const float* w, const WeightSelection& selection, uint64_t* kept);
void ApplySelection(const uint64_t* kept, int64_t numel, float factor, float* w);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_WEIGHT_TOPK_H_
