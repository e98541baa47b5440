#ifndef FILIGREE_KERNELS_RMS_NORM_RMS_NORM_H_
#define FILIGREE_KERNELS_RMS_NORM_RMS_NORM_H_

#include "kernels/base/tile.h"

// RMSNorm with a gain, no bias.
//
//   r[t] = 1 / sqrt(mean over c of x[c, t]^2 + eps),   y[c, t] = x[c, t] * r[t] * gain[c],   eps = FLT_EPSILON
//
//   dx[c, t] += r g[c] dy[c, t]  -  x[c, t] r^3 / C * sum over c' of dy[c', t] g[c'] x[c', t]
//   dgain[c] += sum over t of dy[c, t] x[c, t] r[t]          (16 logical lanes, kernels/base/simd.h)
//
// Shapes         x, y, dy, dx: [C][64]; gain, dgain: C; r: 64.
// Writes         forward overwrites y and r (y may be x). Backward ADDS to dx (the residual's gradient) and to dgain;
//                dy and dx may not overlap.
// Accuracy       forward forms the sum of squares and r in double and rounds r once: every channel of a token shares
// its
//                error, and AbsTopK decides near ties by the last bits. Backward sums in fp32. Both over channels in
//                ascending order by fused multiply-add into 4 interleaved accumulators (channel c goes to c % 4; added
//                as (0+1)+(2+3)); the same bits everywhere.

namespace filigree::kernels {

void RmsNormForward(ConstTile x, const float* gain, Tile y, float* r);
void RmsNormBackward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain);

namespace ref {
void RmsNormForward(ConstTile x, const float* gain, Tile y, float* r);
void RmsNormBackward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_RMS_NORM_RMS_NORM_H_
