#ifndef FILIGREE_WORKER_MODEL_NETWORK_H_
#define FILIGREE_WORKER_MODEL_NETWORK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/model/arena.h"
#include "worker/model/gradient_stages.h"
#include "worker/model/gradient_witness.h"
#include "worker/model/spec.h"
#include "worker/model/tap.h"
#include "worker/model/tensor_group.h"

// The model on token tiles: loss and gradient of a run of sequences (one logical shard), loss alone, logits.
//
// A layer runs sequence by sequence, so that a tile stays in cache from operation to operation; threads take whole
// sequences, then, for the gradients of weights, blocks of rows. The bits do not depend on the number of threads.
//
// With a tensor group the ranks of the group share the model: each holds the shard of it that its registry describes,
// and all make the same calls with the same sequences. A layer then runs over all sequences at once, with exchanges in
// between. Losses, logits and gradients have the bits of one rank that has the whole model (with the same
// spec.tensor_groups): losses and logits on every rank, gradients of what the rank holds. There are no taps then.
//
// Threads: one call at a time; work is shared among the threads of the pool given to the constructor.

namespace filigree::model {

// Where the time of a call went, in seconds of the calling thread. exchange: in calls of the group, which wait for the
// slowest rank; forward and backward are without them.
struct PassTimes {
  double forward = 0, backward = 0, exchange = 0;
};

// How many of `sequences` a pass that keeps nothing (a loss, logits) works on at once: as many as there are threads, or
// where ranks share the model the same number on each of them, but `most`; fewer where that takes no more rounds.
int SequencesAtOnce(int threads, int sequences, bool shared, int most);

class Network {
 public:
  // Borrows spec and registry and pool; they outlive the network. spec: of the whole model.
  Network(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool)
      : Network(spec, registry, pool, nullptr) {}
  // With the ranks of `group` (null, or of size 1: alone), whose rank and size are those of the registry's shard.
  Network(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool, TensorGroup* group);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Takes the weights of the next calls. Dense tensors are borrowed: `weights` stays where it is and unchanged until
  // the next SetWeights. `kept(tensor)` gives a sparsified matrix's bitmap (kernels/csr/csr.h) or null,
  // `nonzeros(tensor)` its entries (of the whole matrix, where ranks share it). A matrix that is sparse enough to be
  // faster so is copied to CSR, both ways round; one that exists on candidates (layout of `weights`, which the
  // gradients share) is copied too.
  void SetWeights(const Arena& weights, const std::function<const uint64_t*(int tensor)>& kept,
                  const std::function<int64_t(int tensor)>& nonzeros);
  // The same where nothing is masked.
  void SetWeights(const Arena& weights);

  // tokens: [sequences][positions] row-major; 1 <= positions (<= n_ctx where there are position channels).
  struct Batch {
    const int32_t* tokens = nullptr;
    int sequences = 0;
    int positions = 0;
  };

  // How a gradient meets what stands in the arena already.
  enum class Write { kOverwrite, kAdd };

  // Sum over sequences and predicted positions (positions - 1 a sequence) of the cross-entropy, in nats; the gradient
  // is that of loss_scale * sum. Writes all of `gradient` (padding between tensors excepted): the shard's own sum is
  // formed first and then written or added, once. `witness` (optional) sees the shard's factors. stage_done (optional)
  // is told when which tensors' gradients are whole; after an error of the tensor group it is told of no more.
  double LossAndGradient(const Batch& batch, double loss_scale, Write write, Arena& gradient, Tap* tap = nullptr,
                         PassTimes* times = nullptr, GradientWitness* witness = nullptr,
                         const StageDone& stage_done = {});

  // The sum of the cross-entropies alone. per_token (optional): [sequences][positions - 1].
  double Loss(const Batch& batch, Tap* tap = nullptr, float* per_token = nullptr);

  // Logits of every position: [sequences][positions][V].
  void Logits(const Batch& batch, float* logits, Tap* tap = nullptr);

  // Logits of the last position of one sequence: [V].
  void LastLogits(std::span<const int32_t> tokens, float* logits, Tap* tap = nullptr);

  // The first error of the tensor group. After it losses are NaN, and what calls write is unspecified.
  const absl::Status& status() const;

  // Passes that keep nothing work on at most so many sequences at once (all ranks of a group say the same): on a
  // machine of many threads their memory would else grow beyond that of a training step. Changes no bit. Unlimited
  // until then.
  void LimitSequencesAtOnce(int most);

  // Gives back what passes that keep nothing have worked in; the next one takes it anew.
  void ReleaseInference();

  // Bytes held for activations, scratch and sparse copies now.
  size_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_NETWORK_H_
