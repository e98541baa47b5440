#ifndef FILIGREE_WORKER_BENCH_SELECT_H_
#define FILIGREE_WORKER_BENCH_SELECT_H_

#include "absl/status/statusor.h"
#include "kernels/weight_topk/weight_topk.h"
#include "worker/bench/bench.h"

namespace filigree::bench {

// The selection that sizes ask for: k = floor(density * rows * cols), min alive lowered as in training where k is too
// small.
//
// Errors         InvalidArgument: a size out of range.
absl::StatusOr<kernels::WeightSelection> SelectionOf(const SelectSizes& sizes);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_SELECT_H_
