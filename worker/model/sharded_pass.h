#ifndef FILIGREE_WORKER_MODEL_SHARDED_PASS_H_
#define FILIGREE_WORKER_MODEL_SHARDED_PASS_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "worker/model/head.h"
#include "worker/model/pass_buffers.h"
#include "worker/model/tensor_group.h"
#include "worker/model/tile_exchange.h"
#include "worker/model/weight_gradients.h"

// The passes of a network that the ranks of a tensor group share: layer by layer over all sequences at once, with an
// exchange wherever a sum or a selection goes over what ranks share. A rank holds some heads, neurons and tokens of the
// vocabulary of every tile, and the residual of the tiles it owns.
//
//   own tiles       a = topk(rms_norm(x))                      Gather a
//   all tiles       q, k, v = c_attn a + b, own heads          Select q, k, v; attention of own heads
//   all tiles       c_proj y, own heads' part                  Sum
//   own tiles       x = x + topk(sum), m = topk(rms_norm(x))   Gather m
//   all tiles       n = gelu(c_fc m + b), own neurons          Select n
//   all tiles       c_proj n, own neurons' part                Sum
//   own tiles       x = x + topk(sum)
//
// and backward the other way round. Every sum goes along the tree of tensor groups, so the bits are those of one rank.

namespace filigree::model {

class ShardedPass {
 public:
  // Borrows everything. spec: the dimensions here; whole: those of the model.
  ShardedPass(const ModelSpec& spec, const ModelSpec& whole, const Registry& registry, const Weights& weights,
              const TokenTiles& tokens, std::vector<TopKGuesses>& guesses, TensorGroup& group,
              kernels::ThreadPool& pool);

  // The tiles whose residual is here, of so many.
  TileRun Own(int tiles) const;

  // What the passes of a call share. Tokens are set.
  struct Call {
    PassBuffers& buffers;
    int positions = 0;
  };

  // Embedding and all layers: the residual after the last one of own tiles.
  absl::Status Forward(const Call& call);
  // Then one of these. losses: of every sequence.
  absl::Status Loss(const Call& call, float* per_token, std::vector<double>& losses);
  absl::Status Logits(const Call& call, float* logits);  // [sequences][positions][V]
  absl::Status Backward(const Call& call, double loss_scale, const WeightGradients::Target& target,
                        WeightGradients& weight_gradients, std::vector<double>& losses);

  size_t bytes() const { return exchange_.bytes() + parts_.size() * sizeof(kernels::SoftmaxPart); }

 private:
  using TileTask = std::function<void(const SequenceSlot& slot, int tile, int worker)>;
  SequenceSlot Slot(const Call& call, int sequence) const;
  SequenceSlot SlotOfTile(const Call& call, int n) const;
  void ForOwn(const Call& call, const TileTask& task);
  void ForAll(const Call& call, const std::function<void(int n, int worker)>& task);
  void ForSequences(const Call& call, const std::function<void(const SequenceSlot& slot, int worker)>& task);

  absl::Status ForwardLayer(const Call& call, int l);
  absl::Status ForwardAttention(const Call& call, int l);
  absl::Status ForwardMlp(const Call& call, int l);
  absl::Status SelectQueries(int l, LayerActivations& act, LayerValues& x);
  absl::Status SelectNeurons(int l, LayerActivations& act, LayerValues& x);
  // Values that came from other ranks, or that a selection of all ranks left.
  void KeepAll(const Call& call, TileBuffer& values, Bf16Buffer& kept);

  absl::Status FormLogits(const Call& call);
  absl::Status Softmax(const Call& call, bool gradient, double loss_scale, float* per_token,
                       std::vector<double>& losses);
  kernels::SoftmaxPart* OwnParts(const Call& call, int n);
  std::vector<kernels::SoftmaxPart> PartsOf(const Call& call, int n) const;

  absl::Status BackwardHead(const Call& call, double loss_scale, std::vector<double>& losses);
  absl::Status BackwardMlp(const Call& call, int l);
  absl::Status BackwardAttention(const Call& call, int l);
  absl::Status GatherGradients(const Call& call);
  // The own tiles' share of a layer's backward pass; gradients by gains go to the tile's own set.
  BackwardPass OwnPass(const Call& call, int worker);
  void FinishInput(const Call& call, int l, Place place, int n, kernels::Tile dy, int worker);

  const ModelSpec& spec_;
  const ModelSpec& whole_;
  const Registry& registry_;
  const Weights& weights_;
  const TokenTiles& tokens_;
  std::vector<TopKGuesses>& guesses_;  // one a thread
  TensorGroup& group_;
  kernels::ThreadPool& pool_;
  TileExchange exchange_;
  std::vector<kernels::SoftmaxPart> parts_;         // rank by rank: of all tiles, the rank's groups
  std::unique_ptr<SmallGradients> tile_gradients_;  // by gains, a set a tile
  int tile_sets_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_SHARDED_PASS_H_
