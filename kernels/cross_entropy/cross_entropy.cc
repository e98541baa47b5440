#include "kernels/cross_entropy/cross_entropy.h"

namespace filigree::kernels {

void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss) {
  ref::CrossEntropyLoss(logits, target, loss);
}

void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss) {
  ref::CrossEntropyGradient(logits, target, scale, loss);
}

}  // namespace filigree::kernels
