#ifndef FILIGREE_WORKER_MODEL_GRADIENT_STAGES_H_
#define FILIGREE_WORKER_MODEL_GRADIENT_STAGES_H_

#include <functional>
#include <vector>

#include "worker/model/registry.h"

// The order in which backward has gradients ready: in stages, of which one is over before the next begins. So whoever
// sends gradients to other ranks need not wait for the last of them.
//
//   0           lm_head and the bigram table
//   1 .. L      the layers, the last one first: their matrices and biases
//   L + 1       embeddings, and gains and sinks of all layers, whose sums over sequences are formed at the very end

namespace filigree::model {

// The tensors of every stage; each tensor of the registry is in one.
std::vector<std::vector<int>> GradientStages(const Registry& registry);

// Told on the thread that called the pass, once a stage, in order: nothing in the pass touches its gradients any more.
using StageDone = std::function<void(int stage)>;

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_GRADIENT_STAGES_H_
