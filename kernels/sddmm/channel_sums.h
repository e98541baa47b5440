#ifndef FILIGREE_KERNELS_SDDMM_CHANNEL_SUMS_H_
#define FILIGREE_KERNELS_SDDMM_CHANNEL_SUMS_H_

#include "kernels/base/tile.h"

// The gradient of a linear layer's bias, of one tile:
//
//   sums[c] += sum over t of dy[c, t]
//
// Determinism    bitwise, the same bits in ref, AVX2 and AVX-512: a channel's tokens are added in 16 logical lanes
//                (token % 16, ascending), these as a tree of distances 1, 2, 4, 8, and the result to what was.
// Cost           one read of the tile, which is in cache where its other gradients are formed.

namespace filigree::kernels {

// sums: [dy.channels].
void AddChannelSums(ConstTile dy, float* sums);

namespace ref {
void AddChannelSums(ConstTile dy, float* sums);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SDDMM_CHANNEL_SUMS_H_
