#include "worker/model/sharded_pass.h"

#include <algorithm>

#include "worker/model/forward.h"

namespace filigree::model {

using kernels::Tile;

ShardedPass::ShardedPass(const ModelSpec& spec, const ModelSpec& whole, const Registry& registry,
                         const Weights& weights, const TokenTiles& tokens, std::vector<TopKGuesses>& guesses,
                         TensorGroup& group, kernels::ThreadPool& pool)
    : spec_(spec),
      whole_(whole),
      registry_(registry),
      weights_(weights),
      tokens_(tokens),
      guesses_(guesses),
      group_(group),
      pool_(pool),
      exchange_(whole, group, pool) {}

TileRun ShardedPass::Own(int tiles) const { return exchange_.Own(tiles); }

SequenceSlot ShardedPass::Slot(const Call& call, int sequence) const {
  SequenceSlot slot;
  slot.sequence = sequence;
  slot.positions = call.positions;
  slot.tiles = call.buffers.tiles_per_sequence;
  slot.first_tile = sequence * slot.tiles;
  return slot;
}

SequenceSlot ShardedPass::SlotOfTile(const Call& call, int n) const {
  return Slot(call, n / call.buffers.tiles_per_sequence);
}

void ShardedPass::ForOwn(const Call& call, const TileTask& task) {
  const int begin = exchange_.begin();
  pool_.Run(exchange_.end() - begin, [&](int64_t i, int worker) {
    const SequenceSlot slot = SlotOfTile(call, begin + static_cast<int>(i));
    task(slot, begin + static_cast<int>(i) - slot.first_tile, worker);
  });
}

void ShardedPass::ForAll(const Call& call, const std::function<void(int n, int worker)>& task) {
  pool_.Run(call.buffers.tiles(), [&](int64_t n, int worker) { task(static_cast<int>(n), worker); });
}

void ShardedPass::ForSequences(const Call& call,
                               const std::function<void(const SequenceSlot& slot, int worker)>& task) {
  pool_.Run(call.buffers.sequences, [&](int64_t s, int worker) { task(Slot(call, static_cast<int>(s)), worker); });
}

absl::Status ShardedPass::Forward(const Call& call) {
  exchange_.SetTiles(call.buffers.tiles());
  TileBuffer& first = call.buffers.resid(0, spec_.n_layer);
  ForOwn(call, [&](const SequenceSlot& slot, int tile, int) {
    const int n = slot.first_tile + tile;
    weights_.Embed(tokens_.inputs(n), first.tile(n));
  });
  for (int l = 0; l < spec_.n_layer; ++l) {
    absl::Status status = ForwardAttention(call, l);
    if (status.ok()) status = ForwardMlp(call, l);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void ShardedPass::KeepAll(const Call& call, TileBuffer& values, Bf16Buffer& kept) {
  if (!spec_.rounds()) return;
  ForAll(call, [&](int n, int worker) {
    ForwardPass{spec_, weights_, nullptr, guesses_[worker]}.Keep(values.tile(n), kept.tile(n));
  });
}

absl::Status ShardedPass::ForwardAttention(const Call& call, int l) {
  LayerActivations& act = call.buffers.layer(l);
  LayerValues& x = call.buffers.values(l, 0);
  const LayerWeights& w = weights_.layers[l];
  ForOwn(call, [&](const SequenceSlot& slot, int tile, int worker) {
    ForwardPass{spec_, weights_, nullptr, guesses_[worker]}.Input(l, Place::kAttnIn, slot, tile, act, x);
  });
  absl::Status status = exchange_.Gather("attn_in", x.act_in, &act.kept_act_in, spec_.kept(Place::kAttnIn));
  if (!status.ok()) return status;
  KeepAll(call, x.act_in, act.bf16.act_in);
  ForAll(call, [&](int n, int) { w.c_attn.Forward({x.act_in.tile(n), act.bf16.act_in.tile(n)}, x.qkv.tile(n)); });
  status = SelectQueries(l, act, x);
  if (!status.ok()) return status;
  KeepAll(call, x.qkv, act.bf16.qkv);
  ForSequences(call, [&](const SequenceSlot& slot, int worker) {
    ForwardPass{spec_, weights_, nullptr, guesses_[worker]}.Attention(l, slot, act, x);
  });
  exchange_.BeginSum(spec_.d_model, nullptr, 0);
  ForAll(call, [&](int n, int worker) {
    for (int piece = 0; piece < exchange_.pieces(); ++piece) {
      exchange_.Add(n, piece, worker, [&](Tile y) { w.attn_c_proj.ForwardPiece(piece, x.attn_y.tile(n), y); });
    }
  });
  return exchange_.FinishSum("attn_out", [&](int n, Tile sum, int worker) {
    const SequenceSlot slot = SlotOfTile(call, n);
    const int tile = n - slot.first_tile;
    const ForwardPass pass{spec_, weights_, nullptr, guesses_[worker]};
    const Tile out = act.resid_mid.tile(n);
    std::copy_n(sum.data, sum.size(), out.data);
    pass.Deliver(l, Place::kAttnOut, slot, tile, act.resid_in.tile(n), act.kept_attn_out.tile(n), out);
    pass.Input(l, Place::kMlpIn, slot, tile, act, x);
  });
}

absl::Status ShardedPass::ForwardMlp(const Call& call, int l) {
  LayerActivations& act = call.buffers.layer(l);
  LayerValues& x = call.buffers.values(l, 0);
  TileBuffer& resid_out = call.buffers.resid(l + 1, spec_.n_layer);
  const LayerWeights& w = weights_.layers[l];
  absl::Status status = exchange_.Gather("mlp_in", x.mlp_in, &act.kept_mlp_in, spec_.kept(Place::kMlpIn));
  if (!status.ok()) return status;
  KeepAll(call, x.mlp_in, act.bf16.mlp_in);
  ForAll(call, [&](int n, int worker) {
    ForwardPass{spec_, weights_, nullptr, guesses_[worker]}.Neurons(l, n, act, x);
  });
  status = SelectNeurons(l, act, x);
  if (!status.ok()) return status;
  KeepAll(call, x.neurons, act.bf16.neurons);
  exchange_.BeginSum(spec_.d_model, nullptr, 0);
  ForAll(call, [&](int n, int worker) {
    for (int piece = 0; piece < exchange_.pieces(); ++piece) {
      exchange_.Add(n, piece, worker, [&](Tile y) { w.mlp_c_proj.ForwardPiece(piece, x.neurons.tile(n), y); });
    }
  });
  return exchange_.FinishSum("mlp_out", [&](int n, Tile sum, int worker) {
    const SequenceSlot slot = SlotOfTile(call, n);
    const Tile out = resid_out.tile(n);
    std::copy_n(sum.data, sum.size(), out.data);
    ForwardPass{spec_, weights_, nullptr, guesses_[worker]}.Deliver(
        l, Place::kMlpOut, slot, n - slot.first_tile, act.resid_mid.tile(n), act.kept_mlp_out.tile(n), out);
  });
}

// AbsTopK of q, k and v, each over the heads of all ranks.
absl::Status ShardedPass::SelectQueries(int l, LayerActivations& act, LayerValues& x) {
  const int HK = spec_.attention_width();
  std::vector<TileExchange::Selection> selections;
  std::vector<Place> places;
  for (const Place place : {Place::kQ, Place::kK, Place::kV}) {
    const int first = (static_cast<int>(place) - static_cast<int>(Place::kQ)) * HK;
    if (whole_.has_topk(place)) {
      TileExchange::Selection selection{first, whole_.kept(place), {}};
      for (int r = 0; r < group_.size(); ++r) {
        selection.channels.push_back(whole_.Local({r, group_.size()}).attention_width());
      }
      selections.push_back(selection);
      places.push_back(place);
    } else if (act.kept_qkv.tile(0) != nullptr) {
      for (int n = 0; n < exchange_.tiles(); ++n) std::fill_n(act.kept_qkv.tile(n) + first, HK, ~uint64_t{0});
    }
  }
  if (selections.empty()) return absl::OkStatus();
  return exchange_.Select("q, k, v", selections, x.qkv, act.kept_qkv,
                          [&](int worker, int i) { return guesses_[worker].at(l, places[i]); });
}

absl::Status ShardedPass::SelectNeurons(int l, LayerActivations& act, LayerValues& x) {
  if (!whole_.has_topk(Place::kMlpNeuron)) return absl::OkStatus();
  TileExchange::Selection selection{0, whole_.kept(Place::kMlpNeuron), {}};
  for (int r = 0; r < group_.size(); ++r) selection.channels.push_back(whole_.Local({r, group_.size()}).d_mlp);
  return exchange_.Select("mlp_neuron", {selection}, x.neurons, act.kept_neurons,
                          [&](int worker, int) { return guesses_[worker].at(l, Place::kMlpNeuron); });
}

}  // namespace filigree::model
