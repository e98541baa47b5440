#include "kernels/cross_entropy/cross_entropy_ref.h"

#include "kernels/base/check.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace filigree::kernels::ref {
namespace {

void CheckTargets(const int32_t* target, int vocab) {
  CHECK(vocab >= 1);
  for (int t = 0; t < kTileTokens; ++t) CHECK(target[t] < vocab, "target {} of a vocabulary of {}", target[t], vocab);
}

}  // namespace

void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss) {
  CheckTargets(target, logits.channels);
  CrossEntropyLossIn(logits.data, logits.channels, target, loss);
}

void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss) {
  CheckTargets(target, logits.channels);
  CrossEntropyGradientIn(logits.data, logits.channels, target, scale, loss);
}

}  // namespace filigree::kernels::ref
