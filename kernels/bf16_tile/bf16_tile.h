#ifndef FILIGREE_KERNELS_BF16_TILE_BF16_TILE_H_
#define FILIGREE_KERNELS_BF16_TILE_BF16_TILE_H_

#include "kernels/base/bf16_row.h"
#include "kernels/base/tile.h"

// From fp32 tiles to bf16 ones and back.
//
//   round     x[c, t] = the bf16 nearest to x[c, t], ties to even: |error| <= 2^-8 |x[c, t]|;   kept[c, t] = x[c, t]
//   widen     y[c, t] = kept[c, t], exact
//
// Shapes         x, y: [C][64]; kept: as many channels, 64-byte aligned, or null (round: x alone).
// Writes         round: x in place and all of kept; widen: all of y.
// Special        infinity stays; beyond the largest bf16 by half a step or more is infinity, of its sign; NaN becomes
//                the quiet NaN of its sign; subnormals are rounded like any other number (below 2^-126 the error is at
//                most 2^-134). Rounding what was rounded changes nothing.
// Threads        on the calling thread.
// Determinism    the same bits in ref, AVX2 and AVX-512.
// Cost           round: 4 bytes read and 6 written an entry; widen: 2 read, 4 written.

namespace filigree::kernels {

void RoundToBf16(Tile x, Bf16Tile kept);
void WidenBf16(ConstBf16Tile kept, Tile y);

namespace ref {
void RoundToBf16(Tile x, Bf16Tile kept);
void WidenBf16(ConstBf16Tile kept, Tile y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BF16_TILE_BF16_TILE_H_
