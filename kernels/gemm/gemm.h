#ifndef FILIGREE_KERNELS_GEMM_GEMM_H_
#define FILIGREE_KERNELS_GEMM_GEMM_H_

#include "kernels/base/tile.h"

// Dense linear layer on token tiles.
//
//   forward          y[o, t]   = bias[o] + sum_i w[o, i] * x[i, t]
//   backward         dx[i, t]  = sum_o w[o, i] * dy[o, t]
//
// Shapes         w: [out][in] row-major, any alignment; x: [in][64]; y, dy: [out][64]; bias: out or null (0).
// Writes         all of the result; nothing is accumulated unless asked for. It may not overlap the input.
// Determinism    bitwise, the same bits in ref, AVX2 and AVX-512: the summed channels are cut into blocks of
// kGemmDepth;
//                a block's sum is formed from 0 by fused multiply-adds in ascending order; the blocks are added in
//                ascending order, the first to the bias (or 0, or what was there).
// Threads        a call uses the calling thread only, and keeps nothing.
// Cost           2 * out * in * 64 FLOPs; w is read once.
// The gradient of w is kernels/sddmm.
//
// Why not oneDNN 2.6: its bits depend on the machine, Debian builds it on OpenMP, whose threads are not ours, and it is
// no faster. One Zen 4 core, peak 115 GFLOP/s: forward 100-115, oneDNN 94-105; backward 85-107, oneDNN 85-105.

namespace filigree::kernels {

inline constexpr int kGemmDepth = 32;

void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y);
void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx);

// Parts of the sums, for callers that form them group by group. Forward: of columns of a wider matrix, whose row o
// begins at w + o * w_stride. Backward: kAdd begins with what dx holds instead of 0 (rows that continue a sum).
enum class GemmWrite { kOverwrite, kAdd };
void GemmForward(const float* w, int w_stride, int out, int in, ConstTile x, const float* bias, Tile y);
void GemmBackward(const float* w, int out, int in, ConstTile dy, GemmWrite write, Tile dx);

namespace ref {
void GemmForward(const float* w, int w_stride, int out, int in, ConstTile x, const float* bias, Tile y);
void GemmBackward(const float* w, int out, int in, ConstTile dy, GemmWrite write, Tile dx);
inline void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y) {
  ref::GemmForward(w, in, out, in, x, bias, y);
}
inline void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx) {
  ref::GemmBackward(w, out, in, dy, GemmWrite::kOverwrite, dx);
}
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GEMM_GEMM_H_
