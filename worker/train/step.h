#ifndef FILIGREE_WORKER_TRAIN_STEP_H_
#define FILIGREE_WORKER_TRAIN_STEP_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/traffic.h"
#include "worker/config/settings.h"
#include "worker/model/network.h"
#include "worker/parallel/world.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/evidence.h"
#include "worker/train/model_shard.h"
#include "worker/train/ownership.h"
#include "worker/train/replicas.h"
#include "worker/train/state.h"
#include "worker/train/tensor_ranks.h"

// One training step, in the order of the specification: learning rate, forward and backward, gradient scale, Adam,
// density step, weight decay; in the active regime new candidates every few steps. Where matrices have owners
// (ownership.h) each rank updates its own, and all get the weights that survive, and candidates that change.

namespace filigree::train {

// What a step found out. Times in seconds.
struct StepResult {
  double lr = 0;
  double density = 1, embedding_density = 1;  // f_w, f_e of this step's mask
  double loss = 0;                            // mean nats per predicted token, before the update
  double gradient_norm = 0, gradient_rms = 0;
  double forward_seconds = 0, backward_seconds = 0, exchange_seconds = 0, optimizer_seconds = 0, topk_seconds = 0;
  comm::Traffic traffic;      // of this rank
  comm::Traffic activations;  // of `traffic`: among the ranks that share the model
  bool refreshed = false;     // the candidates changed; topk_seconds holds the time it took
};

class Stepper {
 public:
  // Borrows all. Settings give S, the schedules, the rules and the number of logical shards. Takes the state's weights
  // and masks as they are. `world`: the ranks that train together, each with a stepper and the same state; null: alone.
  // bucket_bytes: of gradients that go together to the other ranks while backward goes on (batch_gradient.h), the same
  // on all of them. Where matrices have owners the state gives up the moments of what others own.
  Stepper(const config::Settings& settings, TrainState& state, kernels::ThreadPool& pool,
          parallel::World* world = nullptr, int64_t bucket_bytes = exchange::kBucketBytes);

  // tokens: [sequences][positions], cut into train.shards contiguous, nearly equal runs of sequences. Loss is the mean
  // over sequences * (positions - 1). Advances state.step by one and state.position by `sequences`. A loss or gradient
  // that is not finite, or a loss above `most_loss`, leaves the weights as they were: result.loss or
  // result.gradient_norm says so, and neither step nor position moves. Every rank is given the same tokens and gets the
  // same result (times and traffic are its own) and the same state, bit by bit; what it holds back of its gradients,
  // and moments of matrices that have an owner, are its own. Errors: a rank was lost (worker/comm), and the state is
  // unspecified where it is torn. DataLoss: ranks do not hold the same state any more.
  absl::StatusOr<StepResult> Step(const int32_t* tokens, int sequences, int positions,
                                  double most_loss = std::numeric_limits<double>::infinity());

  // Do all ranks still hold the state that the last update left? Collective. DataLoss names who does not; else the
  // communicator's errors. OK alone.
  absl::Status CheckReplicas() { return replicas_ == nullptr ? absl::OkStatus() : replicas_->Check(); }

  // Digests of the state that the last update left; empty alone and before the first. All ranks have the same where the
  // next step begins without an error.
  std::span<const exchange::TensorDigests> left() const;

  model::Network& network() { return network_; }
  // What this rank has not sent yet of its gradients (worker/exchange/residual.h); null: it holds nothing back.
  exchange::Residual* residual() { return batch_gradient_.residual(); }
  // Which tensors this rank updates.
  const Ownership& ownership() const { return ownership_; }
  // Of the part of the model that this rank computes.
  const model::Registry& registry() const { return shard_ == nullptr ? state_.registry : shard_->registry(); }

 private:
  comm::Traffic Traffic() const;
  comm::Traffic TensorTraffic() const;
  void TakeWeights();
  optim::Optimizer::Some TensorsToUpdate(const bool* masked);
  absl::Status Refresh(int64_t s);

  const config::Settings& settings_;
  TrainState& state_;
  kernels::ThreadPool& pool_;
  parallel::World* const world_;
  std::unique_ptr<TensorRanks> tensor_ranks_;  // that share the model with this one, which computes
  std::unique_ptr<ModelShard> shard_;          // this part of it; null, both: all of it
  model::Network network_;
  BatchGradient batch_gradient_;
  Ownership ownership_;
  std::unique_ptr<Evidence> evidence_;  // of the steps before candidates change
  std::unique_ptr<Replicas> replicas_;  // null: alone
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_STEP_H_
