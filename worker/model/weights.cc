#include "worker/model/weights.h"

#include <algorithm>
#include <utility>

#include "kernels/base/sum_tree.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sparse_embedding.h"

namespace filigree::model {

namespace {

using Over = SumGroups::Over;

// Where the groups of a shard begin among its heads, neurons or tokens (n of them in the whole model), counted from the
// shard's first; in channels, of which each has so many.
std::vector<int> Bounds(const ModelSpec& whole, const Shard& shard, int n, int each = 1) {
  const int first = whole.FirstGroup(shard), end = whole.FirstGroup({shard.rank + 1, shard.size});
  std::vector<int> bounds;
  for (int g = first; g <= end; ++g) bounds.push_back((whole.GroupBegin(n, g) - whole.GroupBegin(n, first)) * each);
  return bounds;
}

SumGroups Groups(const ModelSpec& whole, const Shard& shard, Over over, int stripes, std::vector<int> bounds) {
  if (whole.tensor_groups == 1) return {};
  const int first = whole.FirstGroup(shard), end = whole.FirstGroup({shard.rank + 1, shard.size});
  std::vector<int> pieces = shard.size == 1 ? std::vector<int>{end} : kernels::SubtreesOf(first, end);
  return {over, stripes, std::move(bounds), std::move(pieces)};
}

}  // namespace

Weights::Weights(const ModelSpec& spec, const ModelSpec& whole, const Registry& registry)
    : spec_(spec), registry_(registry) {
  const int D = spec.d_model, F = spec.d_mlp, HK = spec.attention_width(), X = spec.input_width();
  const Shard& shard = registry.shard();
  const std::vector<int> channels = Bounds(whole, shard, whole.n_head, whole.d_head),
                         neurons = Bounds(whole, shard, whole.d_mlp);
  first_token = whole.GroupBegin(whole.vocab, whole.FirstGroup(shard));
  token_groups = Bounds(whole, shard, whole.vocab);
  layers.resize(spec.n_layer);
  for (LayerWeights& layer : layers) {
    layer.c_attn = Linear(3 * HK, X, Groups(whole, shard, Over::kOutputs, 3, channels));
    layer.attn_c_proj = Linear(D, HK, Groups(whole, shard, Over::kInputs, 1, channels));
    layer.c_fc = Linear(F, X, Groups(whole, shard, Over::kOutputs, 1, neurons));
    layer.mlp_c_proj = Linear(D, F, Groups(whole, shard, Over::kInputs, 1, neurons));
  }
  lm_head = Linear(spec.vocab, D, Groups(whole, shard, Over::kOutputs, 1, token_groups));
  if (spec.d_pos_emb > 0) {
    positions_ = kernels::Buffer<float>(static_cast<size_t>(kernels::TilesOf(spec.n_ctx)) * spec.d_pos_emb *
                                        kernels::kTileTokens);
  }
}

void Weights::Set(const Arena& weights, const std::function<const uint64_t*(int)>& kept,
                  const std::function<int64_t(int)>& nonzeros, kernels::ThreadPool& pool) {
  const auto at = [&](int tensor) { return tensor < 0 ? nullptr : weights.tensor(registry_[tensor]); };
  const auto set = [&](Linear& linear, int tensor, int bias) {
    const Layout& layout = weights.layout();
    linear.Set({at(tensor), kept(tensor), nonzeros(tensor), registry_[tensor].whole_numel(), layout.candidates(tensor),
                layout.version(tensor)},
               at(bias), pool);
  };
  // What is added to the residual has its bias from the first group.
  const bool first = registry_.shard().rank == 0;
  for (int l = 0; l < spec_.n_layer; ++l) {
    const LayerTensors& t = registry_.layer(l);
    LayerWeights& w = layers[l];
    w.ln_1 = at(t.ln_1);
    w.ln_2 = at(t.ln_2);
    w.ln_p1 = at(t.ln_p1);
    w.ln_p2 = at(t.ln_p2);
    w.sink = at(t.sink);
    set(w.c_attn, t.c_attn, t.c_attn_bias);
    set(w.attn_c_proj, t.attn_c_proj, first ? t.attn_c_proj_bias : -1);
    set(w.c_fc, t.c_fc, t.c_fc_bias);
    set(w.mlp_c_proj, t.mlp_c_proj, first ? t.mlp_c_proj_bias : -1);
  }
  wte_ = at(registry_.wte());
  wte_candidates_ = weights.layout().candidates(registry_.wte());
  ln_f = at(registry_.ln_f());
  bigram = at(registry_.bigram());
  set(lm_head, registry_.lm_head(), -1);
  SetPositions(at(registry_.wpe()));
}

void Weights::Embed(const int32_t* token, kernels::Tile x) const {
  if (wte_candidates_ != nullptr) {
    kernels::GatherSparseRows(*wte_candidates_, wte_, token, x);
  } else {
    kernels::GatherRows(wte_, token, kernels::GatherWrite::kOverwrite, x);
  }
}

void Weights::SetPositions(const float* wpe) {
  if (wpe == nullptr) return;
  for (int tile = 0; tile < kernels::TilesOf(spec_.n_ctx); ++tile) {
    int32_t rows[kernels::kTileTokens];
    for (int t = 0; t < kernels::kTileTokens; ++t) {
      const int position = tile * kernels::kTileTokens + t;
      rows[t] = position < spec_.n_ctx ? position : -1;
    }
    const kernels::Tile out{positions_.data() + positions(tile).size() * tile, spec_.d_pos_emb};
    kernels::GatherRows(wpe, rows, kernels::GatherWrite::kOverwrite, out);
  }
}

kernels::ConstTile Weights::positions(int tile) const {
  const kernels::ConstTile first{positions_.data(), spec_.d_pos_emb};
  return {first.data + first.size() * tile, spec_.d_pos_emb};
}

size_t Weights::bytes() const {
  size_t total = lm_head.bytes() + positions_.size() * sizeof(float);
  for (const LayerWeights& w : layers) {
    total += w.c_attn.bytes() + w.attn_c_proj.bytes() + w.c_fc.bytes() + w.mlp_c_proj.bytes();
  }
  return total;
}

}  // namespace filigree::model
