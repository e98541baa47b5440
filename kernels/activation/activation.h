#ifndef FILIGREE_KERNELS_ACTIVATION_ACTIVATION_H_
#define FILIGREE_KERNELS_ACTIVATION_ACTIVATION_H_

#include <cstdint>

#include "kernels/base/tile.h"

// The MLP's nonlinearity, entry by entry, and the residual's sum.
//
//   GELU (exact erf form)  y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)),   y' = Phi(x) + x phi(x)
//   ReLU                   y = max(x, 0),                              y' = x > 0
//
// Accuracy       GELU: at most 0.502 ulp from -3 on, as AbsTopK decides by it, 0.51 from -6 on; relative error below
// 1e-6
//                further left. Derivative: absolute error below 2e-7.
// Determinism    a result depends on its own entry only, and is the same in AVX2 and AVX-512.
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
