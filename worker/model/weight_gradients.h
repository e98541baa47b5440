#ifndef FILIGREE_WORKER_MODEL_WEIGHT_GRADIENTS_H_
#define FILIGREE_WORKER_MODEL_WEIGHT_GRADIENTS_H_

#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/sddmm/sddmm.h"
#include "worker/model/activations.h"
#include "worker/model/arena.h"
#include "worker/model/backward.h"
#include "worker/model/gradient_stages.h"
#include "worker/model/gradient_witness.h"
#include "worker/model/head.h"
#include "worker/model/network.h"
#include "worker/model/partial_gradients.h"
#include "worker/model/spec.h"
#include "worker/model/weights.h"

// Gradients by parameters of one shard, from the activations and gradients that its passes left. Each is formed as a
// whole sum over the shard's tokens in a fixed order, then written to the arena or added to it, once.

namespace filigree::model {

class WeightGradients {
 public:
  // Borrows everything.
  WeightGradients(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool);

  // What the next calls read and write.
  struct Target {
    int tiles = 0;      // of the shard
    int sequences = 0;  // of the shard
    Network::Write write = Network::Write::kOverwrite;
    Arena* gradient = nullptr;
    bool inputs_as_kept = true;  // inputs of matrices are 0 where AbsTopK kept nothing: no tap has put values there
    const Weights* weights = nullptr;       // which matrices are on candidates
    PartialGradients* partials = nullptr;   // their gradients and those of biases, sequence by sequence
    GradientWitness* witness = nullptr;     // or null
    const StageDone* stage_done = nullptr;  // or null

    void Done(int stage) const {
      if (stage_done != nullptr && *stage_done) (*stage_done)(stage);
    }
  };

  // lm_head and bigram, from the gradients by logits.
  void Head(const Target& target, const HeadActivations& act, const TokenTiles& tokens);
  // The matrices and biases of one layer.
  void Layer(const Target& target, int layer, const LayerActivations& act, const BackwardBuffers& buffers);
  // wte and wpe, from the gradient by the residual before the first layer.
  void Embeddings(const Target& target, const BackwardBuffers& buffers, const TokenTiles& tokens, int positions);
  // Gains and sinks: sums over sequences in order.
  void Small(const Target& target, SmallGradients& small);

  // Of the sum of a table, kept as long as this; scratch of threads is small.
  size_t bytes() const { return table_.size() * sizeof(float); }

 private:
  struct Matrix {
    const Linear* linear;
    const TileBuffer* dy;
    const KeptBuffer* kept;  // null where dy may be nonzero anywhere
    const TileBuffer* x;
    const Bf16Buffer* x_bf16;    // in place of x, unless empty or null
    const KeptBuffer* x_kept;    // as `kept`
    int weight = -1, bias = -1;  // tensors; bias may be -1
  };
  static kernels::SddmmInput Input(const Matrix& matrix, int tiles);
  void Matrices(const Target& target, const std::vector<Matrix>& matrices);
  void Witness(const Target& target, const Matrix& matrix);
  void SumPartials(const Target& target, const Matrix& matrix);
  template <typename At>
  void SumSequences(const Target& target, int tensor, At at);
  void Table(const Target& target, int tensor, const TileBuffer& dx, const std::vector<const int32_t*>& rows);
  void SparseScatter(const Target& target, int tensor, const TileBuffer& dx, const std::vector<const int32_t*>& rows);
  void Scatter(const Target& target, int tensor, const TileBuffer& dx, const std::vector<const int32_t*>& rows);

  const ModelSpec& spec_;
  const Registry& registry_;
  kernels::ThreadPool& pool_;
  std::vector<kernels::SddmmScratch> scratch_;  // one a thread
  kernels::Buffer<float> table_;                // a table's own sum, before it is added
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_WEIGHT_GRADIENTS_H_
