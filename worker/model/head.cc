#include "worker/model/head.h"

#include <algorithm>

#include "kernels/embedding/embedding.h"
#include "kernels/rms_norm/rms_norm.h"

namespace filigree::model {

using kernels::kTileTokens;
using kernels::SoftmaxPart;
using kernels::SoftmaxWhole;

// Targets of real tokens come first: the losses behind them are 0 and add nothing.
double AddLosses(const float* loss, double sum) {
  for (int t = 0; t < kTileTokens; ++t) sum += loss[t];
  return sum;
}

void Combine(const TokenTiles& tokens, int n, const std::vector<SoftmaxPart>& parts, SoftmaxWhole& whole, float* loss) {
  std::vector<const SoftmaxPart*> all;
  all.reserve(parts.size());
  for (const SoftmaxPart& part : parts) all.push_back(&part);
  kernels::CombineSoftmax(all, tokens.targets(n), whole, loss);
}

void TokenTiles::Set(const int32_t* tokens, int sequences, int positions) {
  const size_t per_sequence = static_cast<size_t>(kernels::TilesOf(positions)) * kTileTokens;
  inputs_.assign(per_sequence * sequences, -1);
  targets_.assign(per_sequence * sequences, -1);
  for (int s = 0; s < sequences; ++s) {
    const int32_t* from = tokens + static_cast<size_t>(s) * positions;
    std::copy_n(from, positions, inputs_.begin() + per_sequence * s);
    std::copy_n(from + 1, positions - 1, targets_.begin() + per_sequence * s);
  }
}

void HeadPass::Embed(const SequenceSlot& slot, TileBuffer& resid) const {
  for (int n = slot.first_tile; n < slot.first_tile + slot.tiles; ++n) {
    weights.Embed(tokens.inputs(n), resid.tile(n));
  }
}

void HeadPass::Norm(int n, HeadActivations& act) const {
  kernels::RmsNormForward(act.final_resid.tile(n), weights.ln_f, act.normed.tile(n),
                          act.r_final.data() + static_cast<size_t>(n) * kTileTokens);
}

void HeadPass::Logits(int n, HeadActivations& act) const {
  weights.lm_head.Forward(act.normed.tile(n), act.logits.tile(n));
  if (weights.bigram != nullptr) {
    kernels::GatherRows(weights.bigram, tokens.inputs(n), kernels::GatherWrite::kAdd, act.logits.tile(n));
  }
}

void HeadPass::LossParts(int n, const HeadActivations& act, SoftmaxPart* parts) const {
  for (int g = 0; g < groups(); ++g) {
    const int begin = weights.token_groups[g], size = weights.token_groups[g + 1] - begin;
    kernels::SoftmaxPartOf(act.logits.tile(n).rows(begin, size), tokens.targets(n), weights.first_token + begin,
                           parts[g]);
  }
}

void HeadPass::GradientParts(int n, HeadActivations& act, SoftmaxPart* parts) const {
  for (int g = 0; g < groups(); ++g) {
    const int begin = weights.token_groups[g], size = weights.token_groups[g + 1] - begin;
    kernels::SoftmaxPartInPlace(act.logits.tile(n).rows(begin, size), tokens.targets(n), weights.first_token + begin,
                                parts[g]);
  }
}

void HeadPass::LogitGradient(int n, double loss_scale, const SoftmaxPart* parts, const SoftmaxWhole& whole,
                             HeadActivations& act) const {
  for (int g = 0; g < groups(); ++g) {
    const int begin = weights.token_groups[g], size = weights.token_groups[g + 1] - begin;
    kernels::SoftmaxGradient(parts[g], whole, tokens.targets(n), weights.first_token + begin,
                             static_cast<float>(loss_scale), act.logits.tile(n).rows(begin, size));
  }
}

double HeadPass::Loss(const SequenceSlot& slot, HeadActivations& act, float* per_token) const {
  double sum = 0;
  std::vector<SoftmaxPart> parts(groups());
  SoftmaxWhole whole;
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    float loss[kTileTokens];
    Norm(n, act);
    Logits(n, act);
    LossParts(n, act, parts.data());
    Combine(tokens, n, parts, whole, loss);
    sum = AddLosses(loss, sum);
    if (per_token == nullptr) continue;
    const int count = std::min(kTileTokens, slot.positions - 1 - i * kTileTokens);
    if (count > 0) std::copy_n(loss, count, per_token + i * kTileTokens);
  }
  return sum;
}

double HeadPass::LossAndGradient(const SequenceSlot& slot, double loss_scale, HeadActivations& act,
                                 BackwardScratch& scratch, TileBuffer& resid, float* dgain, float* dlm_head) const {
  double sum = 0;
  std::vector<SoftmaxPart> parts(groups());
  SoftmaxWhole whole;
  for (int i = 0; i < slot.tiles; ++i) {
    const int n = slot.first_tile + i;
    float loss[kTileTokens];
    Norm(n, act);
    Logits(n, act);
    GradientParts(n, act, parts.data());
    Combine(tokens, n, parts, whole, loss);
    LogitGradient(n, loss_scale, parts.data(), whole, act);
    sum = AddLosses(loss, sum);
    const kernels::Tile dnormed = scratch.input.tile(0).rows(0, spec.d_model), dx = resid.tile(n);
    if (dlm_head == nullptr) {
      weights.lm_head.Backward(act.logits.tile(n), dnormed);
    } else {
      weights.lm_head.BackwardWithGradient(act.logits.tile(n), act.normed.tile(n), dnormed, dlm_head);
    }
    std::fill_n(dx.data, dx.size(), 0.0f);
    kernels::RmsNormBackward(dnormed, act.final_resid.tile(n), weights.ln_f,
                             act.r_final.data() + static_cast<size_t>(n) * kTileTokens, dx, dgain);
  }
  return sum;
}

}  // namespace filigree::model
