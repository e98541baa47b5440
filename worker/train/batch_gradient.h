#ifndef FILIGREE_WORKER_TRAIN_BATCH_GRADIENT_H_
#define FILIGREE_WORKER_TRAIN_BATCH_GRADIENT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/exchange/batch_sum.h"
#include "worker/exchange/gradient_tree.h"
#include "worker/exchange/overlapped_sum.h"
#include "worker/model/network.h"
#include "worker/parallel/world.h"
#include "worker/train/evidence.h"
#include "worker/train/model_shard.h"
#include "worker/train/state.h"

// Mean loss of a step's batch and its gradient: this rank's logical shards one after another, summed along the fixed
// tree, and over all ranks of a run that has several (worker/exchange/batch_sum.h): over the tree while the last shard
// is still in its backward pass (worker/exchange/overlapped_sum.h). Every rank ends with the same bits,
// those of a single rank where settings.parallel has fp32 on the wire; where matrices have owners (ownership.h) only
// theirs has the gradient of one.

namespace filigree::train {

// How a run sums its gradients over data-parallel ranks. registry: of the gradients on a rank. bucket_bytes: of fp32
// gradients that go at least together while backward goes on; 0: all of them afterwards.
exchange::SumOptions SumOptionsOf(const config::Settings& settings, const model::Registry& registry,
                                  const parallel::Grid& grid, int64_t bucket_bytes = exchange::kBucketBytes);

// May the exchange begin before backward is over (parallel.overlap)? "auto": where there is a link to wait for, or a
// core for the thread that exchanges; else that only takes time from those that compute (docs/results/exchange.md).
bool GoesBesideBackward(config::Overlap wanted, int hosts, bool spare_cores);

class BatchGradient {
 public:
  // Borrows all. `world` null: alone. shard: this rank's part of the model, null: the whole.
  // bucket_bytes: as in SumOptionsOf, the same on every rank; it changes no bit. Counts where settings.parallel.overlap
  // lets the exchange begin before backward is over.
  BatchGradient(const config::Settings& settings, const TrainState& state, ModelShard* shard, kernels::ThreadPool& pool,
                parallel::World* world, int64_t bucket_bytes = exchange::kBucketBytes);

  struct Batch {
    const int32_t* tokens = nullptr;  // [sequences][positions], the whole batch of all ranks
    int sequences = 0, positions = 0;
  };
  struct Result {
    double loss = 0;  // mean nats per predicted token
    // exchange: what this rank has waited for, not what went on beside its backward pass.
    double forward_seconds = 0, backward_seconds = 0, exchange_seconds = 0;
  };
  // evidence: of step state.step, where a refresh will ask for it; else null. Errors: those of the communicator.
  absl::StatusOr<Result> Compute(const Batch& batch, model::Network& network, Evidence* evidence);

  // The step that computed it changes nothing after all: the next one begins as this one did.
  void Undo();

  // What Compute found, until its next call. Unspecified where another rank owns the tensor.
  model::Arena& gradient() { return shard_ == nullptr ? tree_.gradient() : shard_->whole_gradient(); }

  // What this rank has not sent yet; null: it holds nothing back.
  exchange::Residual* residual() { return sum_ == nullptr ? nullptr : sum_->residual(); }

 private:
  absl::Status ComputeOwnShards(const Batch& batch, model::Network& network, Evidence* evidence,
                                model::PassTimes& times);
  double BeginExchange();
  void SendStage(int stage);
  absl::Status FinishExchange();
  void GiveUpExchange(const absl::Status& why);
  absl::StatusOr<double> SumOverData(Evidence* evidence);
  absl::Status GatherOverTensor(Evidence* evidence);
  absl::StatusOr<double> WorstOverTensor(double loss);

  const config::Settings& settings_;
  const TrainState& state_;
  ModelShard* shard_;
  parallel::World* world_;
  exchange::GradientTree tree_;
  const std::vector<std::vector<int>> stages_;           // of backward
  std::unique_ptr<exchange::BatchSum> sum_;              // null: alone
  std::unique_ptr<exchange::OverlappedSum> overlapped_;  // null: the sum comes after backward
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_BATCH_GRADIENT_H_
