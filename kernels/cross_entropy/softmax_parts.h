#ifndef FILIGREE_KERNELS_CROSS_ENTROPY_SOFTMAX_PARTS_H_
#define FILIGREE_KERNELS_CROSS_ENTROPY_SOFTMAX_PARTS_H_

#include "kernels/base/tile.h"
#include "kernels/cross_entropy/cross_entropy.h"

// The passes over a tile of logits, compiled once per target in cross_entropy_simd.cc.

namespace filigree::kernels {

// part.max and part.sum.
void SumExponentials(ConstTile logits, SoftmaxPart& part);
// The same, and logits become exp(logit - max).
void SumExponentialsInPlace(Tile logits, SoftmaxPart& part);
// x *= factor per token, and exactly zero where the factor is zero.
void ScaleTokens(const float* factor, Tile x);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CROSS_ENTROPY_SOFTMAX_PARTS_H_
