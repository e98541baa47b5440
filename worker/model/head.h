#ifndef FILIGREE_WORKER_MODEL_HEAD_H_
#define FILIGREE_WORKER_MODEL_HEAD_H_

#include <cstdint>
#include <vector>

#include "kernels/cross_entropy/cross_entropy.h"
#include "worker/model/activations.h"
#include "worker/model/backward.h"
#include "worker/model/forward.h"
#include "worker/model/spec.h"
#include "worker/model/weights.h"

// The two ends of the model: tokens to residual, residual to logits and loss.
//
//   x = wte[token]                     logits = lm_head rms_norm(x) + bigram[token, :]

namespace filigree::model {

// Tokens of a pass, cut into tiles: padding is -1, and so is the target of a sequence's last position.
class TokenTiles {
 public:
  // tokens: [sequences][positions].
  void Set(const int32_t* tokens, int sequences, int positions);

  const int32_t* inputs(int tile) const { return inputs_.data() + static_cast<size_t>(tile) * kernels::kTileTokens; }
  const int32_t* targets(int tile) const { return targets_.data() + static_cast<size_t>(tile) * kernels::kTileTokens; }

 private:
  std::vector<int32_t> inputs_, targets_;
};

struct HeadPass {
  const ModelSpec& spec;
  const Weights& weights;
  const TokenTiles& tokens;

  void Embed(const SequenceSlot& slot, TileBuffer& resid) const;

  // act.final_resid -> normed -> logits, of tile n of the pass.
  void Norm(int n, HeadActivations& act) const;
  void Logits(int n, HeadActivations& act) const;

  // The softmax of tile n, group by group: parts has one for every group here. With a gradient to follow, act.logits
  // become exponentials, and with the whole softmax their gradients.
  void LossParts(int n, const HeadActivations& act, kernels::SoftmaxPart* parts) const;
  void GradientParts(int n, HeadActivations& act, kernels::SoftmaxPart* parts) const;
  void LogitGradient(int n, double loss_scale, const kernels::SoftmaxPart* parts, const kernels::SoftmaxWhole& whole,
                     HeadActivations& act) const;
  int groups() const { return static_cast<int>(weights.token_groups.size()) - 1; }

  // act.final_resid -> sum of the cross-entropies of the slot, in token order. per_token (or null): positions - 1.
  double Loss(const SequenceSlot& slot, HeadActivations& act, float* per_token) const;

  // The same, and: act.logits becomes the gradient of loss_scale * sum, `resid` the gradient by final_resid,
  // overwritten; the gradient by ln_f's gain is added to dgain, that by an lm_head on candidates to dlm_head (else
  // null).
  double LossAndGradient(const SequenceSlot& slot, double loss_scale, HeadActivations& act, BackwardScratch& scratch,
                         TileBuffer& resid, float* dgain, float* dlm_head) const;
};

// sum + the losses of a tile's tokens, in order.
double AddLosses(const float* loss, double sum);

// The softmax from the parts of all groups, and the losses of tile n.
void Combine(const TokenTiles& tokens, int n, const std::vector<kernels::SoftmaxPart>& parts,
             kernels::SoftmaxWhole& whole, float* loss);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_HEAD_H_
