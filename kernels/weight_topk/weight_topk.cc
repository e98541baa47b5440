#include "kernels/weight_topk/weight_topk.h"

namespace filigree::kernels {

void SelectWeights(const float* w, const WeightSelection& selection, WeightThreshold* threshold, ThreadPool& pool,
                   uint64_t* kept) {
  (void)threshold;
  (void)pool;
  ref::SelectWeights(w, selection, kept);
}

void ApplySelection(const uint64_t* kept, int64_t numel, float factor, ThreadPool& pool, float* w) {
  (void)pool;
  ref::ApplySelection(kept, numel, factor, w);
}

}  // namespace filigree::kernels
