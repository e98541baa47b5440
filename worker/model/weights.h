#ifndef FILIGREE_WORKER_MODEL_WEIGHTS_H_
#define FILIGREE_WORKER_MODEL_WEIGHTS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/model/arena.h"
#include "worker/model/linear.h"
#include "worker/model/spec.h"

// The parameters as a pass computes with them: pointers into an arena, matrices as Linear.

namespace filigree::model {

struct LayerWeights {
  const float *ln_1 = nullptr, *ln_2 = nullptr;    // D
  const float *ln_p1 = nullptr, *ln_p2 = nullptr;  // P, null without positions
  const float* sink = nullptr;                     // H, null without sinks
  Linear c_attn, attn_c_proj, c_fc, mlp_c_proj;
};

class Weights {
 public:
  // spec: the dimensions here; whole: those of the model, of which the registry's shard is a part. Borrows spec and
  // registry.
  Weights(const ModelSpec& spec, const ModelSpec& whole, const Registry& registry);

  // As Network::SetWeights.
  void Set(const Arena& weights, const std::function<const uint64_t*(int)>& kept,
           const std::function<int64_t(int)>& nonzeros, kernels::ThreadPool& pool);

  // x[c, t] = wte[token[t], c].
  void Embed(const int32_t* token, kernels::Tile x) const;

  // Position channels of tokens [64 tile, 64 tile + 64): [P][64], before their RMSNorm; zero past n_ctx.
  kernels::ConstTile positions(int tile) const;

  size_t bytes() const;

  const float* ln_f = nullptr;
  const float* bigram = nullptr;  // null without
  std::vector<LayerWeights> layers;
  Linear lm_head;
  // Tokens of the vocabulary that are here: the number of the first, and where groups begin, counted from it.
  int first_token = 0;
  std::vector<int> token_groups;

 private:
  void SetPositions(const float* wpe);

  const ModelSpec& spec_;
  const Registry& registry_;
  kernels::Buffer<float> positions_;
  const float* wte_ = nullptr;
  const kernels::PatternView* wte_candidates_ = nullptr;  // null: wte is whole
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_WEIGHTS_H_
