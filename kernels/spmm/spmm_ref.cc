#include <algorithm>
#include <cmath>

#include "kernels/spmm/spmm.h"

namespace filigree::kernels::ref {
namespace {

template <typename Input>
void SpmmOf(const CsrView& w, Input x, const float* bias, Tile y) {
  for (int r = 0; r < w.rows; ++r) {
    for (int t = 0; t < kTileTokens; ++t) {
      const uint32_t begin = w.row_offsets[r], end = w.row_offsets[r + 1];
      float total = 0;
      for (uint32_t block = begin; block == begin || block < end; block += kSpmmBlock) {
        float sum = block == begin && bias != nullptr ? bias[r] : 0.0f;
        for (uint32_t e = block; e < std::min(block + kSpmmBlock, end); ++e) {
          sum = std::fma(w.values[e], x.at(w.col_indices[e], t), sum);
        }
        total = block == begin ? sum : total + sum;
      }
      y.at(r, t) = total;
    }
  }
}

}  // namespace

void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y) { SpmmOf(w, x, bias, y); }
void Spmm(const CsrView& w, ConstBf16Tile x, const float* bias, Tile y) { SpmmOf(w, x, bias, y); }

}  // namespace filigree::kernels::ref
