#ifndef FILIGREE_KERNELS_CANDIDATES_FUSED_H_
#define FILIGREE_KERNELS_CANDIDATES_FUSED_H_

#include <cstdint>

#include "kernels/base/tile.h"

// The backward pass of one tile, run by run. A run is what the candidates of one column of W have in common: a row of x
// and a row of dx, which stay in registers while rows of dy come by, each read once for both results.
//
//   dx[i, t]   = sum over kept e of run i, in the blocks of kernels/spmm: values[e] * dy[indices[e], t]
//   partial[e] += sum over t of dy[indices[e], t] * x[i, t]               for every e of run i
//
// The gradient is symmetric in x and dy: with the two exchanged, the same by rows of W.

namespace filigree::kernels {

struct CandidateRuns {
  int runs = 0, others = 0;             // rows of x, rows of dy
  const uint32_t* begins = nullptr;     // runs + 1
  const uint32_t* kept_ends = nullptr;  // runs: kept are [begins[i], kept_ends[i]), ascending; then the reserve
  const uint16_t* indices = nullptr;
  const float* values = nullptr;  // of the kept
};

// x.data and partial null: dx alone. dx.data null: the gradient alone.
void FusedBackward(const CandidateRuns& runs, ConstTile dy, ConstTile x, Tile dx, float* partial);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_FUSED_H_
