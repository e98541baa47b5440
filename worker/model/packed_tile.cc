#include "worker/model/packed_tile.h"

#include <algorithm>
#include <bit>

namespace filigree::model {

void PackTile(kernels::ConstTile x, const uint64_t* kept, float* packed) {
  for (int c = 0; c < x.channels; ++c) {
    const float* row = x.row(c);
    for (uint64_t word = kept[c]; word != 0; word &= word - 1) *packed++ = row[std::countr_zero(word)];
  }
}

void UnpackTile(const float* packed, const uint64_t* kept, kernels::Tile x) {
  std::fill_n(x.data, x.size(), 0.0f);
  for (int c = 0; c < x.channels; ++c) {
    float* row = x.row(c);
    for (uint64_t word = kept[c]; word != 0; word &= word - 1) row[std::countr_zero(word)] = *packed++;
  }
}

}  // namespace filigree::model
