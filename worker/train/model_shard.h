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

// The part of the model that this rank of a tensor-parallel group computes, copied from the whole weights, masks and
// candidates that it holds. What the group exchanges beside activations are gradients: parts of a matrix that has an
// owner (ownership.h) go to it, those of everything else to all.
//
// Values of a part stand in the order of the whole, for whole tensors and for candidates.

namespace filigree::train {

class ModelShard {
 public:
  // Borrows the state. owners: of tensors among the ranks of the group, or empty (ownership.h).
  ModelShard(const TrainState& whole, model::Shard shard, std::vector<int> owners);

  const model::Registry& registry() const { return registries_[shard_.rank]; }
  const std::shared_ptr<model::Layout>& layout() const { return layout_; }

  // After every change of the whole state: copies weights and masks, and candidates where they have changed.
  void Take();
  const model::Arena& weights() const { return *weights_; }
  const uint64_t* kept(int tensor) const { return kept_[tensor].empty() ? nullptr : kept_[tensor].data(); }

  // Collective among the group. part: a gradient of the layout here; the whole one stands in whole_gradient()
  // afterwards, the same on every rank, but for what others own, which is unspecified. Errors: those of the
  // communicator.
  absl::Status GatherGradient(comm::Communicator& group, const model::Arena& part);
  model::Arena& whole_gradient() { return *gradient_; }

  // The same of numbers a row and a column: of every tensor that has some, one after another, its rows, then its
  // columns. part: of this rank's shapes; the result: of the whole's.
  absl::StatusOr<std::vector<double>> GatherChannels(comm::Communicator& group, std::span<const double> part,
                                                     const std::vector<bool>& has_channels) const;

 private:
  void TakeCandidates();
  int owner(int tensor) const { return owners_.empty() ? -1 : owners_[tensor]; }
  // Values of rank's part that go to `owner` (-1: to all), and where they go in the whole gradient.
  int64_t ValuesFor(int owner, int rank) const;
  float* TakePart(int owner, const model::Arena& part, float* to) const;
  const float* PutPart(int owner, int rank, const float* from);
  void CopyUnshared(const model::Arena& part);
  absl::Status GatherForAll(comm::Communicator& group, const model::Arena& part);
  absl::Status SendToOwners(comm::Communicator& group, const model::Arena& part);

  const TrainState& whole_;
  const model::Shard shard_;
  const std::vector<int> owners_;
  std::vector<model::Registry> registries_;  // of every rank of the group
  std::shared_ptr<model::Layout> layout_;
  std::vector<int64_t> versions_;  // of the whole layout's tensors, as they were taken
  std::unique_ptr<model::Arena> weights_, gradient_;
  std::vector<std::vector<uint64_t>> kept_;  // empty: all
  kernels::Buffer<float> sent_, received_;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_MODEL_SHARD_H_
