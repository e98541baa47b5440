#ifndef FILIGREE_WORKER_TRAIN_MODEL_SHARD_H_
#define FILIGREE_WORKER_TRAIN_MODEL_SHARD_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/buffer.h"
#include "worker/comm/communicator.h"
#include "worker/model/arena.h"
#include "worker/model/registry.h"
#include "worker/train/state.h"

// The part of the model that this rank of a tensor-parallel group computes, copied from the whole state that it holds:
// forward and backward are shared among the ranks of the group, the state is not. So the update, the masks and the
// candidates are those of a rank alone, and what the group exchanges beside activations are gradients: every rank's
// part to all.
//
// Values of a part stand in the order of the whole, for whole tensors and for candidates.

namespace filigree::train {

class ModelShard {
 public:
  // Borrows the state.
  ModelShard(const TrainState& whole, model::Shard shard);

  const model::Registry& registry() const { return registries_[shard_.rank]; }
  const std::shared_ptr<model::Layout>& layout() const { return layout_; }

  // After every change of the whole state: copies weights and masks, and candidates where they have changed.
  void Take();
  const model::Arena& weights() const { return *weights_; }
  const uint64_t* kept(int tensor) const { return kept_[tensor].empty() ? nullptr : kept_[tensor].data(); }

  // Collective among the group. part: a gradient of the layout here; the whole one stands in whole_gradient()
  // afterwards, the same on every rank. Errors: those of the communicator.
  absl::Status GatherGradient(comm::Communicator& group, const model::Arena& part);
  model::Arena& whole_gradient() { return *gradient_; }

  // The same of numbers a row and a column: of every tensor that has some, one after another, its rows, then its
  // columns. part: of this rank's shapes; the result: of the whole's.
  absl::StatusOr<std::vector<double>> GatherChannels(comm::Communicator& group, std::span<const double> part,
                                                     const std::vector<bool>& has_channels) const;

 private:
  void TakeCandidates();
  int64_t SharedValues(int rank) const;

  const TrainState& whole_;
  const model::Shard shard_;
  std::vector<model::Registry> registries_;  // of every rank of the group
  std::shared_ptr<model::Layout> layout_;
  std::vector<int64_t> versions_;  // of the whole layout's tensors, as they were taken
  std::unique_ptr<model::Arena> weights_, gradient_;
  std::vector<std::vector<uint64_t>> kept_;  // empty: all
  kernels::Buffer<float> received_;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_MODEL_SHARD_H_
