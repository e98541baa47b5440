#ifndef FILIGREE_KERNELS_ABS_TOPK_ABS_TOPK_H_
#define FILIGREE_KERNELS_ABS_TOPK_ABS_TOPK_H_

#include <cstdint>

#include "kernels/base/tile.h"

// AbsTopK: for every token, keep the k channels of largest magnitude and set the others to zero.
//
//   y[c, t] = x[c, t]   if fewer than k channels come before c in the order (|x[., t]| descending, c ascending)
//           = 0         otherwise
//
// The order makes ties go to the lower channel, exact zeros included, so the result does not depend on threads, vector
// width or backend.
// Source: Gao et al. 2025, section 2 and App. A.1.

namespace filigree::kernels {

// Forward.
//
// Shapes         x, y: [channels][64]; 1 <= k <= channels; channels <= 32768. y may be x.
// kept           channels words: bit t of kept[c] is set where entry (c, t) was kept.
// guess          in: what a call on such activations gave out (0: none); out: how far the k-th magnitudes of this tile
//                are from its mean magnitude, in octaves (0 where they are all zero; left alone where k = channels). Of
//                the shape of a distribution, not of its scale: so it holds from tile to tile. Null is allowed: as if
//                the activations were normal draws. A close guess saves passes where they are not (after GELU half of
//                them), a wrong one costs only time: never a different result.
// Writes         all of y and all of kept; nothing is accumulated.
// NaN            is larger than every number, so a NaN stays visible in y. (Among themselves NaNs go by payload.)
// Determinism    bitwise, for any k, any guess.
// Threads        reentrant; scratch is thread-local.
// Cost           two reads and one write of the tile, and about six passes over 16-bit keys: 13 GB/s of x a core with
//                the tile in L2. Few distinct values cost more passes, tokens with fewer than k nonzeros fewer.
void AbsTopK(ConstTile x, int k, Tile y, uint64_t* kept, float* guess);

// Backward: dx[c, t] = kept(c, t) ? dy[c, t] : 0. Overwrites dx, which may be dy.
void AbsTopKBackward(ConstTile dy, const uint64_t* kept, Tile dx);

// The same contracts in plain C++, obviously right (guess is ignored and left alone). Tests compare with these.
namespace ref {
void AbsTopK(ConstTile x, int k, Tile y, uint64_t* kept, float* guess);
void AbsTopKBackward(ConstTile dy, const uint64_t* kept, Tile dx);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ABS_TOPK_ABS_TOPK_H_
