#include <algorithm>

#include "kernels/adam/adam.h"
#include "worker/model/sharded_pass.h"

// The layers of a shared network, backward.

namespace filigree::model {

using kernels::Tile;

absl::Status ShardedPass::Backward(const Call& call, double loss_scale, const WeightGradients::Target& target,
                                   WeightGradients& weight_gradients, std::vector<double>& losses) {
  PassBuffers& buffers = call.buffers;
  if (tile_sets_ < buffers.tiles()) {
    tile_sets_ = buffers.tiles();
    tile_gradients_ = std::make_unique<SmallGradients>(registry_, tile_sets_, SmallGradients::Of::kNotShared);
  }
  tile_gradients_->Clear();
  buffers.ClearGradients();
  absl::Status status = BackwardHead(call, loss_scale, losses);
  if (!status.ok()) return status;
  weight_gradients.Head(target, *buffers.head, tokens_);
  target.Done(0);
  for (int l = spec_.n_layer - 1; l >= 0; --l) {
    buffers.BeginPartials(registry_, weights_, l);
    for (int s = 0; s < buffers.sequences; ++s) buffers.partials->Clear(s);
    status = BackwardMlp(call, l);
    if (status.ok()) status = BackwardAttention(call, l);
    if (!status.ok()) return status;
    weight_gradients.Layer(target, l, buffers.layer(l), *buffers.backward);
    target.Done(spec_.n_layer - l);
  }
  status = GatherGradients(call);
  if (!status.ok()) return status;
  weight_gradients.Embeddings(target, *buffers.backward, tokens_, call.positions);
  weight_gradients.Small(target, *buffers.small);
  target.Done(spec_.n_layer + 1);
  return status;
}

BackwardPass ShardedPass::OwnPass(const Call& call, int worker) {
  return {spec_, registry_, weights_, nullptr, call.buffers.scratch[worker], *tile_gradients_, *call.buffers.partials};
}

// The gradient dy by attn_in or mlp_in of own tile n goes on to the residual.
void ShardedPass::FinishInput(const Call& call, int l, Place place, int n, Tile dy, int worker) {
  SequenceSlot slot = SlotOfTile(call, n);
  const int tile = n - slot.first_tile;
  slot.sequence = n;  // the set of small gradients
  const Tile input = call.buffers.scratch[worker].input.tile(0);
  std::copy_n(dy.data, dy.size(), input.data);
  OwnPass(call, worker).Input(l, place, slot, tile, call.buffers.layer(l), *call.buffers.backward);
}

absl::Status ShardedPass::BackwardMlp(const Call& call, int l) {
  PassBuffers& buffers = call.buffers;
  BackwardBuffers& down = *buffers.backward;
  LayerActivations& act = buffers.layer(l);
  LayerValues& x = buffers.values(l, 0);
  const LayerWeights& w = weights_.layers[l];
  const LayerTensors& t = registry_.layer(l);
  ForOwn(call, [&](const SequenceSlot& slot, int tile, int worker) {
    const int n = slot.first_tile + tile;
    OwnPass(call, worker)
        .Delta(l, Place::kMlpOut, slot, tile, act.kept_mlp_out.tile(n), down.resid.tile(n), down.mlp_out.tile(n));
  });
  absl::Status status =
      exchange_.Gather("mlp_out's gradient", down.mlp_out, &act.kept_mlp_out, spec_.kept(Place::kMlpOut));
  if (!status.ok()) return status;
  exchange_.BeginSum(spec_.input_width(), &act.kept_mlp_in, spec_.kept(Place::kMlpIn));
  ForSequences(call, [&](const SequenceSlot& slot, int worker) {
    const BackwardPass pass = OwnPass(call, worker);
    for (int tile = 0; tile < slot.tiles; ++tile) {
      const int n = slot.first_tile + tile;
      pass.Neurons(l, slot, tile, act, x, down);
      pass.AddGradients(w.c_fc, {t.c_fc, t.c_fc_bias}, slot, down.pre_act.tile(n),
                        {x.mlp_in.tile(n), act.bf16.mlp_in.tile(n)});
      for (int piece = 0; piece < exchange_.pieces(); ++piece) {
        exchange_.Add(n, piece, worker, [&](Tile dx) { w.c_fc.BackwardPiece(piece, down.pre_act.tile(n), dx); });
      }
    }
  });
  return exchange_.FinishSum("mlp_in's gradient",
                             [&](int n, Tile dy, int worker) { FinishInput(call, l, Place::kMlpIn, n, dy, worker); });
}

absl::Status ShardedPass::BackwardAttention(const Call& call, int l) {
  PassBuffers& buffers = call.buffers;
  BackwardBuffers& down = *buffers.backward;
  LayerActivations& act = buffers.layer(l);
  LayerValues& x = buffers.values(l, 0);
  const LayerWeights& w = weights_.layers[l];
  const LayerTensors& t = registry_.layer(l);
  ForOwn(call, [&](const SequenceSlot& slot, int tile, int worker) {
    const int n = slot.first_tile + tile;
    OwnPass(call, worker)
        .Delta(l, Place::kAttnOut, slot, tile, act.kept_attn_out.tile(n), down.resid.tile(n), down.attn_out.tile(n));
  });
  absl::Status status =
      exchange_.Gather("attn_out's gradient", down.attn_out, &act.kept_attn_out, spec_.kept(Place::kAttnOut));
  if (!status.ok()) return status;
  exchange_.BeginSum(spec_.input_width(), &act.kept_act_in, spec_.kept(Place::kAttnIn));
  ForSequences(call, [&](const SequenceSlot& slot, int worker) {
    BackwardScratch& scratch = buffers.scratch[worker];
    const BackwardPass pass{spec_, registry_, weights_, nullptr, scratch, *buffers.small, *buffers.partials};
    for (int tile = 0; tile < slot.tiles; ++tile) {
      const int n = slot.first_tile + tile;
      pass.Through(w.attn_c_proj, {t.attn_c_proj, t.attn_c_proj_bias}, slot, down.attn_out.tile(n),
                   {x.attn_y.tile(n), act.bf16.attn_y.tile(n)}, scratch.attn_y.tile(tile));
    }
    pass.Attention(l, slot, act, x, down);
    for (int n = slot.first_tile; n < slot.first_tile + slot.tiles; ++n) {
      pass.AddGradients(w.c_attn, {t.c_attn, t.c_attn_bias}, slot, down.qkv.tile(n),
                        {x.act_in.tile(n), act.bf16.act_in.tile(n)});
      for (int piece = 0; piece < exchange_.pieces(); ++piece) {
        exchange_.Add(n, piece, worker, [&](Tile dx) { w.c_attn.BackwardPiece(piece, down.qkv.tile(n), dx); });
      }
    }
  });
  return exchange_.FinishSum("attn_in's gradient",
                             [&](int n, Tile dy, int worker) { FinishInput(call, l, Place::kAttnIn, n, dy, worker); });
}

// What tensors that every rank holds whole need of all tiles: gradients by gains, summed over a sequence's tiles in
// order, by the residual before the first layer and by positions.
absl::Status ShardedPass::GatherGradients(const Call& call) {
  PassBuffers& buffers = call.buffers;
  BackwardBuffers& down = *buffers.backward;
  absl::Status status = exchange_.GatherBytes("gradients of gains", tile_gradients_->data(),
                                              sizeof(float) * static_cast<size_t>(tile_gradients_->floats()));
  if (status.ok()) status = exchange_.Gather("embeddings' gradient", down.resid, nullptr, 0);
  if (status.ok() && spec_.d_pos_emb > 0) {
    status = exchange_.Gather("positions' gradient", down.positions, nullptr, 0);
  }
  if (!status.ok()) return status;
  for (const TensorInfo& info : registry_.tensors()) {
    if (!tile_gradients_->holds(info.index)) continue;  // sinks are those of heads here: theirs are in `small`
    for (int n = 0; n < buffers.tiles(); ++n) {
      kernels::AddInPlace(tile_gradients_->at(n, info.index), info.numel(),
                          buffers.small->at(n / buffers.tiles_per_sequence, info.index));
    }
  }
  return status;
}

}  // namespace filigree::model
