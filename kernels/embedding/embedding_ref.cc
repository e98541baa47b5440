#include "kernels/base/check.h"
#include "kernels/embedding/embedding.h"

namespace filigree::kernels::ref {

void GatherRows(const float* table, const int32_t* token, GatherWrite mode, Tile x) {
  for (int c = 0; c < x.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) {
      const bool padding = token[t] < 0;
      const float value = padding ? 0.0f : table[static_cast<size_t>(token[t]) * x.channels + c];
      if (mode == GatherWrite::kOverwrite) {
        x.at(c, t) = value;
      } else if (!padding) {
        x.at(c, t) += value;
      }
    }
  }
}

void ScatterAddRows(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable) {
  CHECK(0 <= c_begin && c_begin <= c_end && c_end <= dx.channels, "channels [{}, {}) of {}", c_begin, c_end,
        dx.channels);
  for (int c = c_begin; c < c_end; ++c) {
    for (int t = 0; t < kTileTokens; ++t) {
      if (token[t] >= 0) dtable[static_cast<size_t>(token[t]) * dx.channels + c] += dx.at(c, t);
    }
  }
}

}  // namespace filigree::kernels::ref
