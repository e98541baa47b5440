#include "kernels/sddmm/channel_sums.h"

namespace filigree::kernels::ref {

void AddChannelSums(ConstTile dy, float* sums) {
  for (int c = 0; c < dy.channels; ++c) {
    float lane[16];
    for (int t = 0; t < kTileTokens; ++t) lane[t % 16] = t < 16 ? dy.at(c, t) : lane[t % 16] + dy.at(c, t);
    for (int distance = 1; distance <= 8; distance *= 2) {
      for (int l = 0; l < 16; l += 2 * distance) lane[l] += lane[l + distance];
    }
    sums[c] += lane[0];
  }
}

}  // namespace filigree::kernels::ref
