#ifndef FILIGREE_KERNELS_SDDMM_CHANNEL_SQUARES_H_
#define FILIGREE_KERNELS_SDDMM_CHANNEL_SQUARES_H_

#include "kernels/base/tile.h"

// How large the channels of a tile are: what the norms of a gradient's factors are summed from.
//
//   sums[c] += sum over t of x[c, t]^2
//
// Determinism    bitwise, the same bits in ref, AVX2 and AVX-512: a channel's squares are added in 16 logical lanes
//                (token % 16, fused multiply-adds in ascending order of tokens), these as a tree of distances 8, 4, 2,
//                1 in float, and the result to the sum in double.
// Cost           one read of the tile.

namespace filigree::kernels {

// sums: [x.channels].
void AddChannelSquares(ConstTile x, double* sums);

namespace ref {
void AddChannelSquares(ConstTile x, double* sums);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SDDMM_CHANNEL_SQUARES_H_
