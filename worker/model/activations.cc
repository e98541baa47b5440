#include "worker/model/activations.h"

namespace filigree::model {
namespace {

KeptBuffer Kept(const ModelSpec& spec, Place place, int tiles) {
  return spec.has_topk(place) ? KeptBuffer(tiles, spec.channels(place)) : KeptBuffer();
}

}  // namespace

LayerValues LayerValues::Scratch(const ModelSpec& spec, int tiles_per_sequence) {
  LayerValues scratch;
  scratch.act_in = TileBuffer::Window(1, spec.input_width());
  scratch.qkv = TileBuffer::Window(tiles_per_sequence, 3 * spec.attention_width());
  scratch.attn_y = TileBuffer::Window(tiles_per_sequence, spec.attention_width());
  scratch.mlp_in = TileBuffer::Window(1, spec.input_width());
  scratch.pre_act = TileBuffer::Window(1, spec.d_mlp);
  scratch.neurons = TileBuffer::Window(1, spec.d_mlp);
  return scratch;
}

LayerActivations::LayerActivations(const ModelSpec& spec, const PassShape& shape)
    : resid_in(shape.own, spec.d_model), resid_mid(shape.own, spec.d_model) {
  const int tiles = shape.tiles();
  if (shape.for_backward && spec.rounds()) {
    bf16 = Bf16Values(spec, tiles);
  } else {
    values = LayerValues(spec, tiles);
  }
  kept_act_in = Kept(spec, Place::kAttnIn, tiles);
  if (spec.has_topk(Place::kQ) || spec.has_topk(Place::kK) || spec.has_topk(Place::kV)) {
    kept_qkv = KeptBuffer(tiles, 3 * spec.attention_width());
  }
  kept_attn_out = Kept(spec, Place::kAttnOut, tiles);
  kept_mlp_in = Kept(spec, Place::kMlpIn, tiles);
  kept_neurons = Kept(spec, Place::kMlpNeuron, tiles);
  kept_mlp_out = Kept(spec, Place::kMlpOut, tiles);
  const size_t tokens = static_cast<size_t>(tiles) * kernels::kTileTokens;
  r_attn = kernels::Buffer<float>(tokens);
  r_mlp = kernels::Buffer<float>(tokens);
  attention_stats = kernels::Buffer<float>(2 * tokens * spec.n_head);
}

size_t LayerActivations::bytes() const {
  size_t total = (r_attn.size() + r_mlp.size() + attention_stats.size()) * sizeof(float);
  total += resid_in.bytes() + resid_mid.bytes() + values.bytes() + bf16.bytes();
  for (const KeptBuffer* b : {&kept_act_in, &kept_qkv, &kept_attn_out, &kept_mlp_in, &kept_neurons, &kept_mlp_out}) {
    total += b->bytes();
  }
  return total;
}

HeadActivations::HeadActivations(const ModelSpec& spec, int sequences, int tiles_per_sequence, TileRun own) {
  const int tiles = sequences * tiles_per_sequence;
  final_resid = TileBuffer(own, spec.d_model);
  normed = TileBuffer(tiles, spec.d_model);
  logits = TileBuffer(tiles, spec.vocab);
  r_final = kernels::Buffer<float>(static_cast<size_t>(tiles) * kernels::kTileTokens);
}

size_t HeadActivations::bytes() const {
  return final_resid.bytes() + normed.bytes() + logits.bytes() + r_final.size() * sizeof(float);
}

BackwardBuffers::BackwardBuffers(const ModelSpec& spec, int sequences, int tiles_per_sequence) {
  const int tiles = sequences * tiles_per_sequence;
  resid = TileBuffer(tiles, spec.d_model);
  qkv = TileBuffer(tiles, 3 * spec.attention_width());
  attn_out = TileBuffer(tiles, spec.d_model);
  pre_act = TileBuffer(tiles, spec.d_mlp);
  mlp_out = TileBuffer(tiles, spec.d_model);
  if (spec.d_pos_emb > 0) positions = TileBuffer(tiles, spec.d_pos_emb);
}

size_t BackwardBuffers::bytes() const {
  return resid.bytes() + qkv.bytes() + attn_out.bytes() + pre_act.bytes() + mlp_out.bytes() + positions.bytes();
}

}  // namespace filigree::model
