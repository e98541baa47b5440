#ifndef FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_
#define FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_

#include <cstdint>
#include <span>

#include "kernels/base/tile.h"

// Cross-entropy of next-token logits, and its gradient in place.
//
//   loss[t] = log(sum over c of exp(x[c, t])) - x[target[t], t]      0 where target[t] < 0
//   x[c, t] = scale * (softmax(x[., t])[c] - [c == target[t]])       0 where target[t] < 0
//
// Shapes         logits: [vocab][64]; target, loss: 64.
// Preconditions  vocab >= 1, target < vocab.
// Accuracy       stable for any finite logits (maximum subtracted): a term of the sum, and with it an entry of the
//                softmax, errs by half an ulp of logit - max and one of the exponential; those below e^-87 count as 0.
//                A sum of 16 channels errs by 16 * 2^-24 of itself, and so near certainty, where it is one and a
//                little, the target's gradient by up to scale * 16 * 2^-24. Loss and softmax - 1 are formed in double
//                from there. NaN or infinity in a token makes its loss NaN; minus
//                infinity is a probability of 0.
// Determinism    bitwise in AVX2 and AVX-512: per token, blocks of 16 channels ascending in fp32, their sums in double.
// Cost           gradient: three reads and two writes of the tile; loss: two reads.

namespace filigree::kernels {

// Loss only; logits are left alone.
void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss);
// Loss, and logits become their gradient.
void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss);

// The same for a vocabulary in groups, whose tiles may lie in several processes. Each group gives its part; the parts
// of all groups, in order, give the loss; with it each group forms its gradient:
//
//   part      max = largest logit of the group, sum = sum over its c of exp(x[c] - max), target_logit = x[target] or 0
//   whole     max = largest of the parts', sum = sum over parts, along the tree of kernels/base/sum_tree.h, of
//             part.sum * exp(part.max - max)
//
// `first` is the number of the group's first token in the vocabulary. With one group the bits are those of the
// functions above; with more the exponentials are scaled twice (one rounding more).
struct SoftmaxPart {
  alignas(64) float max[kTileTokens];
  alignas(64) float target_logit[kTileTokens];
  alignas(64) double sum[kTileTokens];
};
struct SoftmaxWhole {
  float max[kTileTokens];
  double sum[kTileTokens];
};
// Leaves the logits alone.
void SoftmaxPartOf(ConstTile logits, const int32_t* target, int first, SoftmaxPart& part);
// Logits become exp(x - part.max), for SoftmaxGradient.
void SoftmaxPartInPlace(Tile logits, const int32_t* target, int first, SoftmaxPart& part);
void CombineSoftmax(std::span<const SoftmaxPart* const> parts, const int32_t* target, SoftmaxWhole& whole, float* loss);
// x: what SoftmaxPartInPlace left; becomes the gradient.
void SoftmaxGradient(const SoftmaxPart& part, const SoftmaxWhole& whole, const int32_t* target, int first, float scale,
                     Tile x);

namespace ref {
void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss);
void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_
