#ifndef FILIGREE_KERNELS_ATTENTION_SQUARE_H_
#define FILIGREE_KERNELS_ATTENTION_SQUARE_H_

#include "kernels/base/tile.h"

namespace filigree::kernels {

// One float for each pair of a key and a query of two tiles, a row for each key: the attention matrix is visited in
// such squares, which fit into the L1 cache.
struct Square {
  alignas(64) float value[kTileTokens][kTileTokens];

  float* row(int key) { return value[key]; }
  const float* row(int key) const { return value[key]; }
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_SQUARE_H_
