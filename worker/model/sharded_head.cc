#include <algorithm>
#include <numeric>

#include "kernels/rms_norm/rms_norm.h"
#include "worker/model/sharded_pass.h"

// The head of a shared network: every rank has its part of the logits of every tile.

namespace filigree::model {

using kernels::kTileTokens;
using kernels::SoftmaxPart;
using kernels::SoftmaxWhole;
using kernels::Tile;

absl::Status ShardedPass::FormLogits(const Call& call) {
  HeadActivations& act = *call.buffers.head;
  const HeadPass head{spec_, weights_, tokens_};
  ForOwn(call, [&](const SequenceSlot& slot, int tile, int) { head.Norm(slot.first_tile + tile, act); });
  absl::Status status = exchange_.Gather("lm_head inputs", act.normed, nullptr, 0);
  if (!status.ok()) return status;
  ForAll(call, [&](int n, int) { head.Logits(n, act); });
  return status;
}

// The groups of all ranks, in order, of tile n.
std::vector<SoftmaxPart> ShardedPass::PartsOf(const Call& call, int n) const {
  std::vector<SoftmaxPart> parts;
  parts.reserve(whole_.tensor_groups);
  const int each = whole_.tensor_groups / group_.size();
  for (int r = 0; r < group_.size(); ++r) {
    const auto from = parts_.begin() + (static_cast<int64_t>(call.buffers.tiles()) * r + n) * each;
    parts.insert(parts.end(), from, from + each);
  }
  return parts;
}

SoftmaxPart* ShardedPass::OwnParts(const Call& call, int n) {
  const int each = whole_.tensor_groups / group_.size();
  return parts_.data() + (static_cast<int64_t>(call.buffers.tiles()) * group_.rank() + n) * each;
}

// Losses of all tokens, on every rank; with a gradient act.logits become it.
absl::Status ShardedPass::Softmax(const Call& call, bool gradient, double loss_scale, float* per_token,
                                  std::vector<double>& losses) {
  HeadActivations& act = *call.buffers.head;
  const HeadPass head{spec_, weights_, tokens_};
  const int tiles = call.buffers.tiles(), per_sequence = call.buffers.tiles_per_sequence;
  parts_.resize(static_cast<size_t>(whole_.tensor_groups) * tiles);
  ForAll(call, [&](int n, int) {
    if (gradient) {
      head.GradientParts(n, act, OwnParts(call, n));
    } else {
      head.LossParts(n, act, OwnParts(call, n));
    }
  });
  const size_t run = sizeof(SoftmaxPart) * (whole_.tensor_groups / group_.size()) * tiles;
  const std::vector<int64_t> runs(group_.size(), static_cast<int64_t>(run));
  absl::Status status = exchange_.GatherRuns("softmax", parts_.data(), runs);
  if (!status.ok()) return status;
  std::vector<float> tokens(static_cast<size_t>(tiles) * kTileTokens);
  ForAll(call, [&](int n, int) {
    SoftmaxWhole whole;
    Combine(tokens_, n, PartsOf(call, n), whole, tokens.data() + static_cast<size_t>(n) * kTileTokens);
    if (gradient) head.LogitGradient(n, loss_scale, OwnParts(call, n), whole, act);
  });
  losses.assign(call.buffers.sequences, 0.0);
  for (int n = 0; n < tiles; ++n) {
    const float* loss = tokens.data() + static_cast<size_t>(n) * kTileTokens;
    losses[n / per_sequence] = AddLosses(loss, losses[n / per_sequence]);
    const int first = n % per_sequence * kTileTokens, count = std::min(kTileTokens, call.positions - 1 - first);
    if (per_token == nullptr || count <= 0) continue;
    std::copy_n(loss, count, per_token + static_cast<size_t>(n / per_sequence) * (call.positions - 1) + first);
  }
  return status;
}

absl::Status ShardedPass::Loss(const Call& call, float* per_token, std::vector<double>& losses) {
  absl::Status status = FormLogits(call);
  if (!status.ok()) return status;
  return Softmax(call, /*gradient=*/false, 0, per_token, losses);
}

absl::Status ShardedPass::Logits(const Call& call, float* logits) {
  absl::Status status = FormLogits(call);
  if (!status.ok()) return status;
  const int tiles = call.buffers.tiles(), per_sequence = call.buffers.tiles_per_sequence;
  std::vector<int> first(group_.size() + 1, 0);  // token of the vocabulary
  std::vector<int64_t> bytes;
  for (int r = 0; r < group_.size(); ++r) {
    const int here = whole_.Local({r, group_.size()}).vocab;
    first[r + 1] = first[r] + here;
    bytes.push_back(static_cast<int64_t>(sizeof(float)) * kTileTokens * here * tiles);
  }
  kernels::Buffer<float> all(static_cast<size_t>(whole_.vocab) * kTileTokens * tiles);
  const auto run = [&](int r) { return all.data() + static_cast<size_t>(first[r]) * kTileTokens * tiles; };
  std::copy_n(call.buffers.head->logits.tile(0).data, call.buffers.head->logits.stride() * tiles, run(group_.rank()));
  status = exchange_.GatherRuns("logits", all.data(), bytes);
  if (!status.ok()) return status;
  pool_.Run(tiles, [&](int64_t n, int) {
    const int begin = static_cast<int>(n % per_sequence) * kTileTokens;
    const int count = std::min(kTileTokens, call.positions - begin);
    float* out = logits + (n / per_sequence * call.positions + begin) * whole_.vocab;
    for (int r = 0; r < group_.size(); ++r) {
      const int here = first[r + 1] - first[r];
      const kernels::ConstTile tile{run(r) + static_cast<size_t>(here) * kTileTokens * n, here};
      for (int t = 0; t < count; ++t) {
        for (int c = 0; c < here; ++c) out[static_cast<size_t>(t) * whole_.vocab + first[r] + c] = tile.at(c, t);
      }
    }
  });
  return status;
}

absl::Status ShardedPass::BackwardHead(const Call& call, double loss_scale, std::vector<double>& losses) {
  PassBuffers& buffers = call.buffers;
  HeadActivations& act = *buffers.head;
  absl::Status status = FormLogits(call);
  if (status.ok()) status = Softmax(call, /*gradient=*/true, loss_scale, nullptr, losses);
  if (!status.ok()) return status;
  buffers.BeginPartials(registry_, weights_, spec_.n_layer);
  exchange_.BeginSum(spec_.d_model, nullptr, 0);
  ForSequences(call, [&](const SequenceSlot& slot, int worker) {
    buffers.partials->Clear(slot.sequence);
    float* partial = buffers.partials->at(slot.sequence, registry_.lm_head());
    for (int n = slot.first_tile; n < slot.first_tile + slot.tiles; ++n) {
      if (partial != nullptr) weights_.lm_head.AddGradient(act.logits.tile(n), act.normed.tile(n), partial);
      for (int piece = 0; piece < exchange_.pieces(); ++piece) {
        exchange_.Add(n, piece, worker,
                      [&](Tile dx) { weights_.lm_head.BackwardPiece(piece, act.logits.tile(n), dx); });
      }
    }
  });
  return exchange_.FinishSum("lm_head inputs' gradient", [&](int n, Tile sum, int) {
    const Tile dx = buffers.backward->resid.tile(n);
    std::fill_n(dx.data, dx.size(), 0.0f);
    kernels::RmsNormBackward(sum, act.final_resid.tile(n), weights_.ln_f,
                             act.r_final.data() + static_cast<size_t>(n) * kTileTokens, dx,
                             tile_gradients_->at(n, registry_.ln_f()));
  });
}

}  // namespace filigree::model
