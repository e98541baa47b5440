#ifndef FILIGREE_KERNELS_CANDIDATES_FUSED_H_
#define FILIGREE_KERNELS_CANDIDATES_FUSED_H_

#include "kernels/base/tile.h"
#include "kernels/csr/csr.h"

// The backward pass of one tile by the columns of W (`columns`: CSR of W^T, values 0 where an entry has no weight):
//
//   dx[i, t]   = sum over e of column i, ascending: values[e] * dy[row e, t]    (not where dx.data is null)
//   partial[e] += sum over t of dy[row e, t] * x[i, t]
//
// A row of dy is read once for both. Order of additions as in candidates.h.

namespace filigree::kernels {

void FusedBackward(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial);

namespace ref {
void FusedBackward(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_FUSED_H_
