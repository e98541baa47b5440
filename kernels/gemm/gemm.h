#ifndef FILIGREE_KERNELS_GEMM_GEMM_H_
#define FILIGREE_KERNELS_GEMM_GEMM_H_

#include "kernels/base/tile.h"

// Dense linear layer on token tiles, by oneDNN's single-threaded sgemm (our own threads call it).
//
//   forward          y[o, t]   = bias[o] + sum_i w[o, i] * x[i, t]
//   backward         dx[i, t]  = sum_o w[o, i] * dy[o, t]
//
// Shapes         w: [out][in] row-major; x: [in][64]; y, dy: [out][64]; bias: out or null (0).
// Writes         all of the result; nothing is accumulated.
// Determinism    the same call gives the same bits on the same machine; other machines may choose other kernels.
// Threads        a call uses the calling thread only.
// The gradient of w is kernels/sddmm.

namespace filigree::kernels {

void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y);
void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx);

namespace ref {
void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y);
void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GEMM_GEMM_H_
