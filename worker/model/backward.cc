#include "worker/model/backward.h"

#include <algorithm>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/sddmm/channel_sums.h"

namespace filigree::model {
namespace {

using kernels::ConstTile;
using kernels::kTileTokens;
using kernels::Tile;

void Copy(ConstTile from, Tile to) { std::copy_n(from.data, from.size(), to.data); }

// Gains and sinks: dense vectors that are no bias.
bool IsSmall(const TensorInfo& info) { return info.density == Density::kDense && info.rows == 1; }

kernels::Activation Kind(config::Activation activation) {
  return activation == config::Activation::kGelu ? kernels::Activation::kGelu : kernels::Activation::kRelu;
}

}  // namespace

SmallGradients::SmallGradients(const Registry& registry, int sequences, Of of) {
  for (const TensorInfo& info : registry.tensors()) {
    const bool held = IsSmall(info) && (of == Of::kAll || !info.shared);
    offsets_.push_back(held ? floats_ : -1);
    if (held) floats_ += (info.numel() + 15) / 16 * 16;
  }
  data_ = kernels::Buffer<float>(static_cast<size_t>(floats_) * sequences);
}

void SmallGradients::Clear() { std::fill(data_.begin(), data_.end(), 0.0f); }

float* SmallGradients::at(int sequence, int tensor) {
  return holds(tensor) ? data_.data() + floats_ * sequence + offsets_[tensor] : nullptr;
}

void BackwardPass::Layer(int layer, const SequenceSlot& slot, const LayerActivations& act, LayerValues& x,
                         BackwardBuffers& buffers) const {
  const LayerWeights& w = weights.layers[layer];
  const LayerTensors& t = registry.layer(layer);
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    Mlp(layer, slot, i, act, x, buffers);
    Visit(Place::kResidMid, layer, slot, i, nullptr, buffers.resid.tile(n));
    Delta(layer, Place::kAttnOut, slot, i, act.kept_attn_out.tile(n), buffers.resid.tile(n), buffers.attn_out.tile(n));
    Through(w.attn_c_proj, {t.attn_c_proj, t.attn_c_proj_bias}, slot, buffers.attn_out.tile(n),
            {x.attn_y.tile(n), act.bf16.attn_y.tile(n)}, scratch.attn_y.tile(i));
    Visit(Place::kAttnY, layer, slot, i, nullptr, scratch.attn_y.tile(i));
  }
  Attention(layer, slot, act, x, buffers);
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    Through(w.c_attn, {t.c_attn, t.c_attn_bias}, slot, buffers.qkv.tile(n), {x.act_in.tile(n), act.bf16.act_in.tile(n)},
            scratch.input.tile(0));
    Input(layer, Place::kAttnIn, slot, i, act, buffers);
    Visit(Place::kResidIn, layer, slot, i, nullptr, buffers.resid.tile(n));
  }
}

void BackwardPass::Mlp(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act, LayerValues& x,
                       BackwardBuffers& buffers) const {
  const LayerWeights& w = weights.layers[layer];
  const LayerTensors& t = registry.layer(layer);
  const int n = slot.first_tile + tile;
  Delta(layer, Place::kMlpOut, slot, tile, act.kept_mlp_out.tile(n), buffers.resid.tile(n), buffers.mlp_out.tile(n));
  Neurons(layer, slot, tile, act, x, buffers);
  Through(w.c_fc, {t.c_fc, t.c_fc_bias}, slot, buffers.pre_act.tile(n), {x.mlp_in.tile(n), act.bf16.mlp_in.tile(n)},
          scratch.input.tile(0));
  Input(layer, Place::kMlpIn, slot, tile, act, buffers);
}

// The gradient by pre_act from that by mlp_out.
void BackwardPass::Neurons(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act, LayerValues& x,
                           BackwardBuffers& buffers) const {
  const int n = slot.first_tile + tile;
  const Tile neurons = buffers.pre_act.tile(n);
  const LayerTensors& t = registry.layer(layer);
  Through(weights.layers[layer].mlp_c_proj, {t.mlp_c_proj, t.mlp_c_proj_bias}, slot, buffers.mlp_out.tile(n),
          {x.neurons.tile(n), act.bf16.neurons.tile(n)}, neurons);
  const uint64_t* kept = act.kept_neurons.tile(n);
  Visit(Place::kMlpNeuron, layer, slot, tile, kept, neurons);
  const Tile pre_act = x.pre_act.tile(n);
  if (!act.bf16.pre_act.empty()) kernels::WidenBf16(act.bf16.pre_act.tile(n), pre_act);
  kernels::ActivationBackward(Kind(spec.activation), neurons, kept, pre_act, neurons);
}

// dx = W^T dy.
void BackwardPass::Through(const Linear& linear, Parameters of, const SequenceSlot& slot, ConstTile dy,
                           const LinearInput& x, Tile dx) const {
  if (linear.on_candidates()) {
    linear.BackwardWithGradient(dy, x, dx, partials.at(slot.sequence, of.weight));
  } else {
    linear.Backward(dy, dx);
  }
  kernels::AddChannelSums(dy, partials.at(slot.sequence, of.bias));
}

void BackwardPass::AddGradients(const Linear& linear, Parameters of, const SequenceSlot& slot, ConstTile dy,
                                const LinearInput& x) const {
  if (linear.on_candidates()) linear.AddGradient(dy, x, partials.at(slot.sequence, of.weight));
  kernels::AddChannelSums(dy, partials.at(slot.sequence, of.bias));
}

// The gradient by what a sub-layer adds to the residual, as far as AbsTopK let it through.
void BackwardPass::Delta(int layer, Place place, const SequenceSlot& slot, int tile, const uint64_t* kept,
                         ConstTile resid, Tile out) const {
  const bool changed = tap != nullptr;
  if (changed) {
    Copy(resid, out);
    Visit(place, layer, slot, tile, kept, out);
  }
  const ConstTile from = changed ? ConstTile(out) : resid;
  if (kept != nullptr) {
    kernels::AbsTopKBackward(from, kept, out);
  } else if (!changed) {
    Copy(resid, out);
  }
}

// scratch.input holds the gradient by attn_in or mlp_in; adds its share to the gradient by the residual.
void BackwardPass::Input(int layer, Place place, const SequenceSlot& slot, int tile, const LayerActivations& act,
                         BackwardBuffers& buffers) const {
  const bool attention = place == Place::kAttnIn;
  const LayerWeights& w = weights.layers[layer];
  const LayerTensors& t = registry.layer(layer);
  const int n = slot.first_tile + tile, D = spec.d_model, P = spec.d_pos_emb;
  const uint64_t* kept = (attention ? act.kept_act_in : act.kept_mlp_in).tile(n);
  const Tile dy = scratch.input.tile(0);
  Visit(place, layer, slot, tile, kept, dy);
  if (kept != nullptr) kernels::AbsTopKBackward(dy, kept, dy);
  const float* r = (attention ? act.r_attn : act.r_mlp).data() + static_cast<size_t>(n) * kTileTokens;
  kernels::RmsNormBackward(dy.rows(0, D), (attention ? act.resid_in : act.resid_mid).tile(n),
                           attention ? w.ln_1 : w.ln_2, r, buffers.resid.tile(n),
                           small.at(slot.sequence, attention ? t.ln_1 : t.ln_2));
  if (P == 0) return;
  // r of the positions is the same for every layer and cheap to form anew; the normed rows themselves are not wanted.
  float r_position[kTileTokens];
  const float* gain = attention ? w.ln_p1 : w.ln_p2;
  kernels::RmsNormForward(weights.positions(tile), gain, scratch.positions.tile(0), r_position);
  kernels::RmsNormBackward(dy.rows(D, P), weights.positions(tile), gain, r_position, buffers.positions.tile(n),
                           small.at(slot.sequence, attention ? t.ln_p1 : t.ln_p2));
}

void BackwardPass::Attention(int layer, const SequenceSlot& slot, const LayerActivations& act, const LayerValues& x,
                             BackwardBuffers& buffers) const {
  for (int h = 0; h < spec.n_head; ++h) AttentionHead(layer, h, slot, act, x, buffers);
  if (tap == nullptr) return;
  for (int i = 0; i < slot.tiles; ++i) Queries(layer, slot, i, act, buffers);
}

// What forward had of a head.
void BackwardPass::HeadInputs(int head, const SequenceSlot& slot, const LayerActivations& act, const LayerValues& x,
                              kernels::AttentionBackwardArgs& args) const {
  const int HK = spec.attention_width(), K = spec.d_head, first = head * K;
  if (act.bf16.qkv.empty()) {
    const kernels::ConstTileSeries qkv = x.qkv.from(slot.first_tile);
    args.q = qkv.rows(first, K);
    args.k = qkv.rows(HK + first, K);
    args.v = qkv.rows(2 * HK + first, K);
    args.y = x.attn_y.from(slot.first_tile).rows(first, K);
    return;
  }
  for (int i = 0; i < slot.tiles; ++i) {
    const kernels::ConstBf16Tile qkv = act.bf16.qkv.tile(slot.first_tile + i);
    const Tile wide = scratch.head.tile(i);
    for (int part = 0; part < 3; ++part) {
      kernels::WidenBf16(qkv.rows(part * HK + first, K), wide.rows(part * K, K));
    }
    kernels::WidenBf16(act.bf16.attn_y.tile(slot.first_tile + i).rows(first, K), wide.rows(3 * K, K));
  }
  const kernels::ConstTileSeries wide = scratch.head.from(0);
  args.q = wide.rows(0, K);
  args.k = wide.rows(K, K);
  args.v = wide.rows(2 * K, K);
  args.y = wide.rows(3 * K, K);
}

void BackwardPass::AttentionHead(int layer, int head, const SequenceSlot& slot, const LayerActivations& act,
                                 const LayerValues& x, BackwardBuffers& buffers) const {
  const int HK = spec.attention_width(), K = spec.d_head, first = head * K;
  const kernels::TileSeries dqkv = buffers.qkv.from(slot.first_tile);
  kernels::AttentionBackwardArgs args;
  args.tokens = slot.positions;
  HeadInputs(head, slot, act, x, args);
  args.dy = kernels::ConstTileSeries(scratch.attn_y.from(0)).rows(first, K);
  // With a tap the whole gradient is wanted first, and the mask follows in Queries.
  const uint64_t* kept = tap == nullptr ? act.kept_qkv.tile(slot.first_tile) : nullptr;
  if (kept != nullptr) {
    args.kept_q = kept + first;
    args.kept_k = kept + HK + first;
    args.kept_v = kept + 2 * HK + first;
    args.kept_stride = act.kept_qkv.stride();
  }
  const float* sink = weights.layers[layer].sink;
  args.sink = sink == nullptr ? nullptr : sink + head;
  const size_t stats = static_cast<size_t>(slot.first_tile) * spec.n_head + static_cast<size_t>(head) * slot.tiles;
  args.stats = act.attention_stats.data() + 2 * kTileTokens * stats;
  args.dq = dqkv.rows(first, K);
  args.dk = dqkv.rows(HK + first, K);
  args.dv = dqkv.rows(2 * HK + first, K);
  float* dsink = small.at(slot.sequence, registry.layer(layer).sink);
  args.dsink = dsink == nullptr ? nullptr : dsink + head;
  if (tap != nullptr && tap->intervenes()) args.y = RecomputeY(args, slot.tiles);
  kernels::AttentionBackward(args);
}

// A head's attn.y once more: a tap may have changed it where it stands, and the gradient of the softmax wants what
// attention gave.
kernels::ConstTileSeries BackwardPass::RecomputeY(const kernels::AttentionBackwardArgs& of, int tiles) const {
  if (scratch.recomputed_y.bytes() == 0) {
    scratch.recomputed_y = TileBuffer(tiles, spec.d_head);
    scratch.recomputed_stats = kernels::Buffer<float>(static_cast<size_t>(2) * kTileTokens * tiles);
  }
  kernels::AttentionForwardArgs args;
  args.tokens = of.tokens;
  args.q = of.q;
  args.k = of.k;
  args.v = of.v;
  args.sink = of.sink;
  args.y = scratch.recomputed_y.from(0);
  args.stats = scratch.recomputed_stats.data();
  kernels::AttentionForward(args);
  return args.y;
}

// Shows the tap the gradients by q, k and v, then applies AbsTopK's masks.
void BackwardPass::Queries(int layer, const SequenceSlot& slot, int tile, const LayerActivations& act,
                           BackwardBuffers& buffers) const {
  const int n = slot.first_tile + tile, HK = spec.attention_width();
  for (const Place place : {Place::kQ, Place::kK, Place::kV}) {
    const int first = (static_cast<int>(place) - static_cast<int>(Place::kQ)) * HK;
    const Tile gradient = buffers.qkv.tile(n).rows(first, HK);
    const uint64_t* kept = spec.has_topk(place) ? act.kept_qkv.tile(n) + first : nullptr;
    Visit(place, layer, slot, tile, kept, gradient);
    if (kept != nullptr) kernels::AbsTopKBackward(gradient, kept, gradient);
  }
}

void BackwardPass::Visit(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept,
                         Tile gradient) const {
  if (tap == nullptr) return;
  TapPoint point;
  point.place = place;
  point.layer = layer;
  point.sequence = slot.sequence;
  point.tile = tile;
  point.kept = kept;
  tap->Backward(point, gradient);
}

}  // namespace filigree::model
