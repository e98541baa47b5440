#include <cmath>

#include "kernels/spmm/spmm.h"

namespace filigree::kernels::ref {

void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y) {
  for (int r = 0; r < w.rows; ++r) {
    for (int t = 0; t < kTileTokens; ++t) {
      float sum = bias == nullptr ? 0.0f : bias[r];
      for (uint32_t e = w.row_offsets[r]; e < w.row_offsets[r + 1]; ++e) {
        sum = std::fma(w.values[e], x.at(w.col_indices[e], t), sum);
      }
      y.at(r, t) = sum;
    }
  }
}

}  // namespace filigree::kernels::ref
