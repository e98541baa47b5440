#ifndef FILIGREE_WORKER_TRAIN_STATE_H_
#define FILIGREE_WORKER_TRAIN_STATE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "worker/config/settings.h"
#include "worker/mask/mask_set.h"
#include "worker/model/arena.h"
#include "worker/model/spec.h"
#include "worker/optim/optimizer.h"

// Everything that training changes, and nothing else: what a checkpoint holds.

namespace filigree::train {

struct TrainState {
  // Zero weights, no masks; spec is copied. Every tensor whole, or as `layout` says.
  TrainState(const model::ModelSpec& spec, const config::Settings& settings);
  TrainState(const model::ModelSpec& spec, const config::Settings& settings, std::shared_ptr<model::Layout> layout);
  TrainState(const TrainState&) = delete;
  TrainState& operator=(const TrainState&) = delete;

  const model::ModelSpec spec;
  const model::Registry registry;
  const std::shared_ptr<model::Layout> layout;  // of weights, moments and gradients
  model::Arena weights;
  optim::Optimizer optimizer;  // holds the moments
  mask::MaskSet masks;

  // New candidate sets: weights and moments move along, masks are the caller's to restore. sources: of the changed
  // tensors.
  struct Change {
    int tensor;
    kernels::Pattern pattern;
    kernels::Buffer<uint32_t> source;  // of each new value, an index into the old ones or model::kNoSource
  };
  void ChangeCandidates(std::vector<Change> changes, kernels::ThreadPool& pool);

  // From here on only the moments of these tensors, one entry each, are kept up to date; those of the others, which
  // other ranks have (ownership.h), are unspecified, and their memory is given back. Empty: all.
  void HoldMoments(std::vector<bool> of);
  bool HoldsMoments(int tensor) const { return held_moments_.empty() || held_moments_[tensor]; }

  // An update has begun and was not brought to its end: no step may be built on it.
  bool torn = false;

  int64_t step = 0;      // steps complete
  int64_t position = 0;  // sequences of the training stream consumed

 private:
  std::vector<bool> held_moments_;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_STATE_H_
