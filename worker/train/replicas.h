#ifndef FILIGREE_WORKER_TRAIN_REPLICAS_H_
#define FILIGREE_WORKER_TRAIN_REPLICAS_H_

#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "kernels/base/thread_pool.h"
#include "worker/exchange/residual.h"
#include "worker/exchange/state_digest.h"
#include "worker/model/registry.h"
#include "worker/parallel/world.h"
#include "worker/train/ownership.h"
#include "worker/train/state.h"

// Ranks hold the same state and are to hold it for ever: every update leaves digests of weights, moments,
// masks and candidates, and the next one begins by taking them anew and comparing all of them
// (worker/exchange/consensus.h). A bit that changed in between, or an update that came out differently, is found before
// anything is built on it. Moments of matrices with owners (ownership.h) are compared among those who hold them; what a
// rank holds back of its gradients is its own, and is compared with itself.
//
// Cost: two reads of the state a step, one of them mostly while the update has it in cache, and 48 bytes to each other
// rank.

namespace filigree::train {

// Of all of a state but the moments of what somebody owns (owners: as OwnersIn gives them); equal states have equal
// ones on every grid.
std::vector<exchange::TensorDigests> DigestsOf(const TrainState& state, kernels::ThreadPool& pool,
                                               std::span<const int> owners = {});

class Replicas {
 public:
  // What this rank alone has: null residual: nothing.
  struct Own {
    const exchange::Residual* residual = nullptr;
    const model::Registry* registry = nullptr;  // of the part of the model that it is of
    const Ownership* ownership = nullptr;
  };
  // Borrows all.
  Replicas(const TrainState& state, const Own& own, kernels::ThreadPool& pool, parallel::World& world);

  // Before an update. Collective. DataLoss: the state of some rank is not what it should be; names ranks, tensor and
  // component; the same on all ranks. Else the communicator's errors.
  absl::Status Check();
  // Within it: moments of stored values [begin, begin + size) of a tensor are final, and with `weights` these too; said
  // of all of a tensor's values or of none. Several threads may say so at once.
  void Written(int tensor, int64_t begin, int64_t size, bool weights);
  // After it. What was not said to be written is read.
  void Remember();
  // What it left, which the next Check compares; empty: no update yet.
  const std::vector<exchange::TensorDigests>& left() const { return left_; }

 private:
  // What the update said it has written, by tensor.
  struct WrittenTensor {
    exchange::TensorDigests digests;
    bool moments = false, weights = false;
  };

  // written: null: take all anew.
  std::vector<exchange::TensorDigests> SharedDigests(const std::vector<WrittenTensor>* written) const;
  std::vector<exchange::TensorDigests> OwnedDigests(const std::vector<WrittenTensor>* written) const;
  std::vector<exchange::TensorDigests> UnsentDigests() const;
  std::vector<exchange::TensorDigests> DigestsOfAll(std::vector<exchange::DigestedTensor> tensors,
                                                    const std::vector<WrittenTensor>* written) const;

  const TrainState& state_;
  const Own own_;
  kernels::ThreadPool& pool_;
  parallel::World& world_;
  std::vector<exchange::TensorDigests> left_, owned_left_, unsent_left_;  // by the last update; empty: none yet
  absl::Mutex mutex_;
  std::vector<WrittenTensor> written_ ABSL_GUARDED_BY(mutex_);  // one a tensor
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_REPLICAS_H_
