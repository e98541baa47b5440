#include "kernels/cross_entropy/cross_entropy_ref.h"

#include "kernels/cross_entropy/cross_entropy.h"

namespace filigree::kernels::ref {

void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss) {
  CheckTargets(target, logits.channels);
  CrossEntropyLossIn(logits.data, logits.channels, target, loss);
}

void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss) {
  CheckTargets(target, logits.channels);
  CrossEntropyGradientIn(logits.data, logits.channels, target, scale, loss);
}

}  // namespace filigree::kernels::ref
