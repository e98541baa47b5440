#ifndef FILIGREE_WORKER_TRAIN_EVIDENCE_H_
#define FILIGREE_WORKER_TRAIN_EVIDENCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/exchange/number_sum.h"
#include "worker/model/gradient_witness.h"
#include "worker/train/model_shard.h"
#include "worker/train/state.h"

// What a step before a refresh learns of where newcomers are worth a try, by the rule of sparsity.newcomers
// (docs/policy.md): norms of channels, what logical shards propose, or, for studies, votes and as an oracle the dense
// gradient itself.

namespace filigree::train {

// Of one matrix: what worker/mask/refresh.h draws by. All may be empty: every position alike.
struct EvidenceOf {
  std::vector<float> rows, columns;
  std::vector<uint32_t> ranked;
};

class Evidence {
 public:
  // Borrows all. shard: the part of the model whose gradients it will be shown, null: the whole.
  static std::unique_ptr<Evidence> Make(const config::Settings& settings, const TrainState& state,
                                        const ModelShard* shard = nullptr);
  virtual ~Evidence() = default;

  // What step s should show its gradients to; null: the rule wants to see none. Earlier evidence is dropped.
  virtual model::GradientWitness* Begin(int64_t s) = 0;
  // From here on the witness is shown the logical shard.
  virtual void BeginShard(int64_t shard) = 0;
  // It has been shown. What is summed goes along the tree of shards, so that it has the same bits
  // however many ranks saw them.
  virtual void EndShard(int64_t shard) = 0;
  // After the last shard: on the only rank, or over all data-parallel ranks (a rule that cannot is Unimplemented).
  virtual void Finish() = 0;
  virtual absl::Status Exchange(exchange::NumberSum& ranks, comm::Communicator& data) = 0;
  // After that, where the ranks of a group share the model: from this rank's part to the whole.
  virtual absl::Status Gather(const ModelShard& shard, comm::Communicator& group) = 0;
  // `candidates`: that the matrix will have.
  virtual EvidenceOf Of(const model::TensorInfo& info, int64_t candidates, kernels::ThreadPool& pool) const = 0;
};

// How many numbers a subtree of shards Exchange sums over data-parallel ranks, and Gather gives to those that share the
// model, of this part of it. 0: none.
int64_t EvidenceNumbers(const config::Settings& settings, const model::Registry& part);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_EVIDENCE_H_
