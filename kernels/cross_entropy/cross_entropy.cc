#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/sum_tree.h"
#include "kernels/base/trace.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "kernels/cross_entropy/softmax_parts.h"

namespace filigree::kernels {
namespace {

bool Holds(ConstTile group, int first, int32_t target) { return target >= first && target - first < group.channels; }

void ReadTargets(ConstTile logits, const int32_t* target, int first, SoftmaxPart& part) {
  CHECK(logits.channels >= 1);
  for (int t = 0; t < kTileTokens; ++t) {
    part.target_logit[t] = Holds(logits, first, target[t]) ? logits.at(target[t] - first, t) : 0.0f;
  }
}

// What exp(x - part.max) is multiplied by to be exp(x - whole.max).
double Shift(const SoftmaxPart& part, const SoftmaxWhole& whole, int t) {
  return part.max[t] == whole.max[t] ? 1.0 : std::exp(double{part.max[t]} - double{whole.max[t]});
}

}  // namespace

void SoftmaxPartOf(ConstTile logits, const int32_t* target, int first, SoftmaxPart& part) {
  const TraceSpan span("cross_entropy", [&] { return TraceWork{.bytes = 4.0 * static_cast<double>(logits.size())}; });
  ReadTargets(logits, target, first, part);
  SumExponentials(logits, part);
}

void SoftmaxPartInPlace(Tile logits, const int32_t* target, int first, SoftmaxPart& part) {
  const TraceSpan span("cross_entropy.backward",
                       [&] { return TraceWork{.bytes = 6.0 * static_cast<double>(logits.size())}; });
  ReadTargets(logits, target, first, part);
  SumExponentialsInPlace(logits, part);
}

void CombineSoftmax(std::span<const SoftmaxPart* const> parts, const int32_t* target, SoftmaxWhole& whole,
                    float* loss) {
  std::vector<double> node(SumTree::MostNodes(static_cast<int>(parts.size())));
  const auto add = [&](int below, int top) { node[below] += node[top]; };
  for (int t = 0; t < kTileTokens; ++t) {
    float target_logit = 0;
    whole.max[t] = parts[0]->max[t];
    for (const SoftmaxPart* part : parts) {
      whole.max[t] = std::max(whole.max[t], part->max[t]);
      target_logit += part->target_logit[t];  // at most one is not 0
    }
    SumTree tree;
    for (const SoftmaxPart* part : parts) {
      node[tree.depth()] = part->sum[t] * Shift(*part, whole, t);
      tree.Push(1, add);
    }
    tree.Finish(add);
    whole.sum[t] = node[0];
    const double log_sum = std::log(whole.sum[t]);
    loss[t] = target[t] < 0 ? 0.0f : static_cast<float>(log_sum + (double{whole.max[t]} - target_logit));
  }
}

void SoftmaxGradient(const SoftmaxPart& part, const SoftmaxWhole& whole, const int32_t* target, int first, float scale,
                     Tile x) {
  const TraceSpan span("cross_entropy.backward",
                       [&] { return TraceWork{.bytes = 2.0 * static_cast<double>(x.size())}; });
  alignas(64) float factor[kTileTokens];
  float target_gradient[kTileTokens];
  for (int t = 0; t < kTileTokens; ++t) {
    const double shift = target[t] < 0 ? 0.0 : Shift(part, whole, t);
    factor[t] = target[t] < 0 ? 0.0f : static_cast<float>(scale * shift / whole.sum[t]);
    if (!Holds(x, first, target[t])) continue;
    // softmax - 1 in double: near 1 the difference would lose its digits.
    const double softmax = x.at(target[t] - first, t) * shift / whole.sum[t];
    target_gradient[t] = static_cast<float>(scale * (softmax - 1.0));
  }
  ScaleTokens(factor, x);
  for (int t = 0; t < kTileTokens; ++t) {
    if (Holds(x, first, target[t])) x.at(target[t] - first, t) = target_gradient[t];
  }
}

void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss) {
  ref::CheckTargets(target, logits.channels);
  SoftmaxPart part;
  SoftmaxWhole whole;
  SoftmaxPartOf(logits, target, 0, part);
  const SoftmaxPart* const parts[] = {&part};
  CombineSoftmax(parts, target, whole, loss);
}

void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss) {
  ref::CheckTargets(target, logits.channels);
  SoftmaxPart part;
  SoftmaxWhole whole;
  SoftmaxPartInPlace(logits, target, 0, part);
  const SoftmaxPart* const parts[] = {&part};
  CombineSoftmax(parts, target, whole, loss);
  SoftmaxGradient(part, whole, target, 0, scale, logits);
}

}  // namespace filigree::kernels
