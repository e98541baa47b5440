#ifndef FILIGREE_KERNELS_ACTIVATION_ACTIVATION_H_
#define FILIGREE_KERNELS_ACTIVATION_ACTIVATION_H_

#include <cstdint>

#include "kernels/base/tile.h"

// The MLP's nonlinearity, entry by entry, and the residual's sum.
//
//   GELU (exact erf form)  y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)),   y' = Phi(x) + x phi(x)
//   ReLU                   y = max(x, 0),                              y' = x > 0
//
// Accuracy       GELU: at most 0.51 ulp on [-9, 9], as AbsTopK decides by it; derivative absolute error below 5e-7.
// Writes         all of the result; y may be x, dx may be dy.
// kept           backward: per channel a word of kept bits (null: all); dx is 0 where the bit is 0.

namespace filigree::kernels {

enum class Activation { kGelu, kRelu };

void ActivationForward(Activation kind, ConstTile x, Tile y);
void ActivationBackward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx);

// y += x.
void Accumulate(ConstTile x, Tile y);

namespace ref {
void ActivationForward(Activation kind, ConstTile x, Tile y);
void ActivationBackward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx);
void Accumulate(ConstTile x, Tile y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ACTIVATION_ACTIVATION_H_
