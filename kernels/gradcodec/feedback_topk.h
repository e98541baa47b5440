#ifndef FILIGREE_KERNELS_GRADCODEC_FEEDBACK_TOPK_H_
#define FILIGREE_KERNELS_GRADCODEC_FEEDBACK_TOPK_H_

#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/weight_topk.h"

// The largest entries of a gradient, the others kept for later steps.
//
//   residual += gradient
//   the k entries of largest |residual| are sent, and their residual is what of them was not sent: 0 (fp32), or the
//   rounding (bf16.h); ties: the lower index
//
// What was sent plus the residual is, at every step, the sum of all gradients up to the rounding of the addition.
//
// Source         Lin et al. 2018, "Deep gradient compression" (without its momentum correction: the optimiser here
//                divides by a second moment).
// Special        NaN counts as larger than every number; what is sent and not finite leaves the residual 0.
// Threads        parallel over the pool; the same bits for any number of threads, in AVX2 and AVX-512.
// Cost           warm (a threshold from the last step), about three passes over n elements.

namespace filigree::kernels {

// n < 2^32 - 1, 0 <= k <= n. indices, values: k elements, filled in ascending order of index. gradient: null: none to
// add. kept: workspace of ceil(n / 64) words. threshold: as in kernels/weight_topk; may be null.
void TopWithFeedback(int64_t n, const float* gradient, int64_t k, float* residual, WeightThreshold* threshold,
                     ThreadPool& pool, uint64_t* kept, uint32_t* indices, float* values);
void TopWithFeedback(int64_t n, const float* gradient, int64_t k, float* residual, WeightThreshold* threshold,
                     ThreadPool& pool, uint64_t* kept, uint32_t* indices, uint16_t* values);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GRADCODEC_FEEDBACK_TOPK_H_
