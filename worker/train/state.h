#ifndef FILIGREE_WORKER_TRAIN_STATE_H_
#define FILIGREE_WORKER_TRAIN_STATE_H_

#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/mask/mask_set.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"
#include "worker/optim/optimizer.h"

// Everything that training changes, and nothing else: what a checkpoint holds.

namespace filigree::train {

struct TrainState {
  // Zero weights, no masks; spec is copied.
  TrainState(const model::ModelSpec& spec, const config::Settings& settings);
  TrainState(const TrainState&) = delete;
  TrainState& operator=(const TrainState&) = delete;

  const model::ModelSpec spec;
  const model::Registry registry;
  model::Arena weights;
  optim::Optimizer optimizer;  // holds the moments
  mask::MaskSet masks;
  int64_t step = 0;      // steps complete
  int64_t position = 0;  // sequences of the training stream consumed
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_STATE_H_
