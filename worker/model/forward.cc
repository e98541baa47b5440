#include "worker/model/forward.h"

#include <algorithm>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/rms_norm/rms_norm.h"

namespace filigree::model {
namespace {

using kernels::ConstTile;
using kernels::kTileTokens;
using kernels::Tile;

kernels::Activation Kind(config::Activation activation) {
  return activation == config::Activation::kGelu ? kernels::Activation::kGelu : kernels::Activation::kRelu;
}

}  // namespace

void ForwardPass::Layer(int layer, const SequenceSlot& slot, LayerActivations& act, LayerValues& x,
                        TileBuffer& resid_out) const {
  const LayerWeights& w = weights.layers[layer];
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    Visit(Place::kResidIn, layer, slot, i, nullptr, act.resid_in.tile(n));
    Input(layer, Place::kAttnIn, slot, i, act, x);
    w.c_attn.Forward({x.act_in.tile(n), act.bf16.act_in.tile(n)}, x.qkv.tile(n));
    Queries(layer, slot, i, act, x);
  }
  Attention(layer, slot, act, x);
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    w.attn_c_proj.Forward({x.attn_y.tile(n), act.bf16.attn_y.tile(n)}, act.resid_mid.tile(n));
    Deliver(layer, Place::kAttnOut, slot, i, act.resid_in.tile(n), act.kept_attn_out.tile(n), act.resid_mid.tile(n));
    Visit(Place::kResidMid, layer, slot, i, nullptr, act.resid_mid.tile(n));
    Mlp(layer, slot, i, act, x, resid_out);
  }
}

// RMSNorm of the residual, positions appended, AbsTopK over both.
void ForwardPass::Input(int layer, Place place, const SequenceSlot& slot, int tile, LayerActivations& act,
                        LayerValues& x) const {
  const bool attention = place == Place::kAttnIn;
  const LayerWeights& w = weights.layers[layer];
  const int n = slot.first_tile + tile, D = spec.d_model, P = spec.d_pos_emb;
  const Tile y = (attention ? x.act_in : x.mlp_in).tile(n);
  uint64_t* kept = (attention ? act.kept_act_in : act.kept_mlp_in).tile(n);
  float* r = (attention ? act.r_attn : act.r_mlp).data() + static_cast<size_t>(n) * kTileTokens;
  kernels::RmsNormForward((attention ? act.resid_in : act.resid_mid).tile(n), attention ? w.ln_1 : w.ln_2, y.rows(0, D),
                          r);
  if (P > 0) {
    float r_position[kTileTokens];
    kernels::RmsNormForward(weights.positions(tile), attention ? w.ln_p1 : w.ln_p2, y.rows(D, P), r_position);
  }
  Select(layer, place, y, kept);
  Settle(place, layer, slot, tile, kept, y, (attention ? act.bf16.act_in : act.bf16.mlp_in).tile(n));
}

// AbsTopK of q, k and v, each over all heads.
void ForwardPass::Queries(int layer, const SequenceSlot& slot, int tile, LayerActivations& act, LayerValues& x) const {
  const int n = slot.first_tile + tile, HK = spec.attention_width();
  uint64_t* kept = act.kept_qkv.tile(n);
  for (const Place place : {Place::kQ, Place::kK, Place::kV}) {
    const int first = (static_cast<int>(place) - static_cast<int>(Place::kQ)) * HK;
    const Tile values = x.qkv.tile(n).rows(first, HK);
    uint64_t* bits = kept == nullptr ? nullptr : kept + first;
    if (bits != nullptr && !spec.has_topk(place)) std::fill_n(bits, HK, ~uint64_t{0});
    Select(layer, place, values, bits);
    Settle(place, layer, slot, tile, spec.has_topk(place) ? bits : nullptr, values,
           act.bf16.qkv.tile(n).rows(first, HK));
  }
}

void ForwardPass::Attention(int layer, const SequenceSlot& slot, LayerActivations& act, LayerValues& x) const {
  const int HK = spec.attention_width(), K = spec.d_head;
  const kernels::ConstTileSeries qkv = x.qkv.from(slot.first_tile);
  const kernels::TileSeries y = x.attn_y.from(slot.first_tile);
  // A tap may have put values where AbsTopK kept nothing.
  const bool hint = act.kept_qkv.tile(0) != nullptr && !(tap != nullptr && tap->intervenes());
  const uint64_t* kept = hint ? act.kept_qkv.tile(slot.first_tile) : nullptr;
  float* stats = act.attention_stats.data() + static_cast<size_t>(slot.first_tile) * 2 * kTileTokens * spec.n_head;
  for (int h = 0; h < spec.n_head; ++h) {
    kernels::AttentionForwardArgs args;
    args.tokens = slot.positions;
    args.q = qkv.rows(h * K, K);
    args.k = qkv.rows(HK + h * K, K);
    args.v = qkv.rows(2 * HK + h * K, K);
    if (kept != nullptr) {
      args.kept_k = kept + HK + h * K;
      args.kept_v = kept + 2 * HK + h * K;
      args.kept_stride = act.kept_qkv.stride();
    }
    const float* sink = weights.layers[layer].sink;
    args.sink = sink == nullptr ? nullptr : sink + h;
    args.y = y.rows(h * K, K);
    args.stats = stats + static_cast<size_t>(h) * 2 * kTileTokens * slot.tiles;
    kernels::AttentionForward(args);
  }
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    Settle(Place::kAttnY, layer, slot, i, nullptr, x.attn_y.tile(n), act.bf16.attn_y.tile(n));
  }
}

void ForwardPass::Mlp(int layer, const SequenceSlot& slot, int tile, LayerActivations& act, LayerValues& x,
                      TileBuffer& resid_out) const {
  const LayerWeights& w = weights.layers[layer];
  const int n = slot.first_tile + tile;
  Input(layer, Place::kMlpIn, slot, tile, act, x);
  Neurons(layer, n, act, x);
  const Tile neurons = x.neurons.tile(n);
  uint64_t* kept = act.kept_neurons.tile(n);
  Select(layer, Place::kMlpNeuron, neurons, kept);
  Settle(Place::kMlpNeuron, layer, slot, tile, kept, neurons, act.bf16.neurons.tile(n));
  w.mlp_c_proj.Forward({neurons, act.bf16.neurons.tile(n)}, resid_out.tile(n));
  Deliver(layer, Place::kMlpOut, slot, tile, act.resid_mid.tile(n), act.kept_mlp_out.tile(n), resid_out.tile(n));
}

// Neurons of tile n, before AbsTopK: of what c_fc gave, not of what is kept of it. Rounded numbers would tie, and
// AbsTopK decides ties by the channel.
void ForwardPass::Neurons(int layer, int n, LayerActivations& act, LayerValues& x) const {
  const Tile pre_act = x.pre_act.tile(n);
  weights.layers[layer].c_fc.Forward({x.mlp_in.tile(n), act.bf16.mlp_in.tile(n)}, pre_act);
  kernels::ActivationForward(Kind(spec.activation), pre_act, x.neurons.tile(n));
  if (!act.bf16.pre_act.empty()) Keep(pre_act, act.bf16.pre_act.tile(n));
}

// out, what a sub-layer gives, becomes resid + topk(out).
void ForwardPass::Deliver(int layer, Place place, const SequenceSlot& slot, int tile, ConstTile resid, uint64_t* kept,
                          Tile out) const {
  Select(layer, place, out, kept);
  Visit(place, layer, slot, tile, kept, out);
  kernels::Accumulate(resid, out);
}

void ForwardPass::Select(int layer, Place place, Tile x, uint64_t* kept) const {
  if (spec.has_topk(place)) kernels::AbsTopK(x, spec.kept(place), x, kept, guesses.at(layer, place));
}

void ForwardPass::Keep(Tile values, kernels::Bf16Tile kept) const {
  if (spec.rounds()) kernels::RoundToBf16(values, kept);
}

// What an intervening tap leaves is rounded too: the backward pass sees what the forward pass went on with.
void ForwardPass::Settle(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept, Tile values,
                         kernels::Bf16Tile bf16) const {
  Keep(values, bf16);
  Visit(place, layer, slot, tile, kept, values);
  if (tap != nullptr && tap->intervenes()) Keep(values, bf16);
}

void ForwardPass::Visit(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept,
                        Tile values) const {
  if (tap == nullptr) return;
  TapPoint point;
  point.place = place;
  point.layer = layer;
  point.sequence = slot.sequence;
  point.tile = tile;
  point.kept = kept;
  tap->Forward(point, values);
}

}  // namespace filigree::model
