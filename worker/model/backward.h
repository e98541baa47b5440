#ifndef FILIGREE_WORKER_MODEL_BACKWARD_H_
#define FILIGREE_WORKER_MODEL_BACKWARD_H_

#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/buffer.h"
#include "worker/model/activations.h"
#include "worker/model/forward.h"
#include "worker/model/partial_gradients.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"
#include "worker/model/tap.h"
#include "worker/model/weights.h"

// One layer of one sequence, backward: gradients by activations, by the small parameters (gains, sinks, biases), and by
// matrices on candidates. The gradients of whole matrices are formed afterwards from what this leaves in
// BackwardBuffers.

namespace filigree::model {

// Gradients of gains and sinks, one set a sequence, so that they can be added in the order of sequences.
class SmallGradients {
 public:
  // Of tensors that ranks share as well, or of the others alone.
  enum class Of { kAll, kNotShared };
  SmallGradients(const Registry& registry, int sequences, Of of = Of::kAll);

  void Clear();
  // Null for a tensor that is not small (or -1).
  float* at(int sequence, int tensor);
  // [sequences][floats()]
  float* data() { return data_.data(); }
  int64_t floats() const { return floats_; }
  size_t bytes() const { return data_.size() * sizeof(float); }
  bool holds(int tensor) const { return tensor >= 0 && offsets_[tensor] >= 0; }

 private:
  std::vector<int64_t> offsets_;  // of each tensor, -1: not small
  int64_t floats_ = 0;            // a sequence
  kernels::Buffer<float> data_;
};

// Scratch of one thread.
struct BackwardScratch {
  BackwardScratch(const ModelSpec& spec, int tiles_per_sequence)
      : input(1, spec.input_width()),
        attn_y(tiles_per_sequence, spec.attention_width()),
        positions(1, spec.d_pos_emb),
        head(spec.rounds() ? tiles_per_sequence : 0, 4 * spec.d_head) {}
  size_t bytes() const { return input.bytes() + attn_y.bytes() + positions.bytes() + head.bytes(); }
  TileBuffer input;      // by attn_in or mlp_in, one tile
  TileBuffer attn_y;     // by attn.y, one sequence
  TileBuffer positions;  // normed position channels, one tile
  TileBuffer head;       // where activations are stored as bf16: q, k, v and attn.y of one head, one sequence
  // Only where a tap intervenes: attn.y of one head as attention gave it, and its stats.
  TileBuffer recomputed_y;
  kernels::Buffer<float> recomputed_stats;
};

struct BackwardPass {
  const ModelSpec& spec;
  const Registry& registry;
  const Weights& weights;
  Tap* tap;  // or null
  BackwardScratch& scratch;
  SmallGradients& small;
  PartialGradients& partials;

  // buffers.resid of the slot: in, the gradient by the residual after the layer; out, before it. x: act.values, or
  // scratch into which pre_act is widened.
  void Layer(int layer, const SequenceSlot& slot, const LayerActivations& act, LayerValues& x,
             BackwardBuffers& buffers) const;

  void Visit(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept,
             kernels::Tile gradient) const;

  // The steps of a layer that ranks sharing the model do as well.
  void Neurons(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act, LayerValues& x,
               BackwardBuffers& buffers) const;
  // A linear layer's tensors.
  struct Parameters {
    int weight, bias;
  };
  // dx, and what AddGradients adds.
  void Through(const Linear& linear, Parameters of, const SequenceSlot& slot, kernels::ConstTile dy,
               const LinearInput& x, kernels::Tile dx) const;
  // The tile's share of the gradients by the bias and by a matrix on candidates, whose input was x, is added to those
  // of the sequence.
  void AddGradients(const Linear& linear, Parameters of, const SequenceSlot& slot, kernels::ConstTile dy,
                    const LinearInput& x) const;
  void Attention(int layer, const SequenceSlot& slot, const LayerActivations& act, const LayerValues& x,
                 BackwardBuffers& buffers) const;
  void Delta(int layer, Place place, const SequenceSlot& slot, int tile, const uint64_t* kept, kernels::ConstTile resid,
             kernels::Tile out) const;
  void Input(int layer, Place place, const SequenceSlot& slot, int tile, const LayerActivations& act,
             BackwardBuffers& buffers) const;

 private:
  void Mlp(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act, LayerValues& x,
           BackwardBuffers& buffers) const;
  void AttentionHead(int layer, int head, const SequenceSlot& slot, const LayerActivations& act, const LayerValues& x,
                     BackwardBuffers& buffers) const;
  void HeadInputs(int head, const SequenceSlot& slot, const LayerActivations& act, const LayerValues& x,
                  kernels::AttentionBackwardArgs& args) const;
  kernels::ConstTileSeries RecomputeY(const kernels::AttentionBackwardArgs& of, int tiles) const;
  void Queries(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act,
               BackwardBuffers& buffers) const;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_BACKWARD_H_
