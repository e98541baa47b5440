#ifndef FILIGREE_WORKER_TRAIN_COST_H_
#define FILIGREE_WORKER_TRAIN_COST_H_

#include <cstdint>
#include <functional>

#include "worker/model/registry.h"
#include "worker/model/spec.h"

namespace filigree::train {

// What a step in the exact regime has to do at least: the numerator of "percent of speed of light".
//
//   flops   per token: 4 a nonzero of each matrix (forward, gradient by input), 2 an entry of each matrix for the dense
//           gradient, of which only AbsTopK's share of outputs counts; attention over T^2 / 2 pairs, at AbsTopK's share
//   bytes   from memory: 28 a parameter for Adam, 8 an entry of the sparsified tensors for selection and mask
struct StepCost {
  double flops = 0;
  double bytes = 0;
};

StepCost ExactStepCost(const model::ModelSpec& spec, const model::Registry& registry,
                       const std::function<int64_t(int tensor)>& nonzeros, int64_t sequences, int64_t positions);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_COST_H_
