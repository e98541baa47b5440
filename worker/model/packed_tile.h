#ifndef FILIGREE_WORKER_MODEL_PACKED_TILE_H_
#define FILIGREE_WORKER_MODEL_PACKED_TILE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/base/tile.h"

// A tile as it travels after AbsTopK: the kept values alone, channel by channel, in each the tokens ascending. AbsTopK
// keeps exactly k of every token, so there are 64 k of them.

namespace filigree::model {

// packed: as many floats as `kept` (one word a channel) has bits.
void PackTile(kernels::ConstTile x, const uint64_t* kept, float* packed);
// Entries that were not kept become 0.
void UnpackTile(const float* packed, const uint64_t* kept, kernels::Tile x);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_PACKED_TILE_H_
