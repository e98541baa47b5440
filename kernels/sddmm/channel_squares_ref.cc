#include <cmath>

#include "kernels/sddmm/channel_squares.h"

namespace filigree::kernels::ref {

void AddChannelSquares(ConstTile x, double* sums) {
  for (int c = 0; c < x.channels; ++c) {
    float lane[16] = {};
    for (int t = 0; t < kTileTokens; ++t) lane[t % 16] = std::fma(x.at(c, t), x.at(c, t), lane[t % 16]);
    for (int distance = 8; distance >= 1; distance /= 2) {
      for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
    }
    sums[c] += lane[0];
  }
}

}  // namespace filigree::kernels::ref
