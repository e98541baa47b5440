#ifndef FILIGREE_WORKER_TRAIN_COST_H_
#define FILIGREE_WORKER_TRAIN_COST_H_

#include <cstdint>
#include <functional>

#include "worker/model/layout.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"

namespace filigree::train {

// What a step has to do at least: the numerator of "percent of speed of light".
//
//   flops   per token: 4 a nonzero of each matrix (forward, gradient by input), 2 a stored entry of each matrix for its
//           gradient, of which only AbsTopK's share of outputs counts where the matrix is whole; attention over T^2 / 2
//           pairs, at AbsTopK's share
//   bytes   from memory: 28 a stored value for Adam, 8 one of the sparsified tensors for selection and mask
struct StepCost {
  double flops = 0;
  double bytes = 0;
};

StepCost CostOfStep(const model::ModelSpec& spec, const model::Registry& registry, const model::Layout& layout,
                    const std::function<int64_t(int tensor)>& nonzeros, int64_t sequences, int64_t positions);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_COST_H_
