#include <cmath>

#include "kernels/candidates/fused.h"

namespace filigree::kernels::ref {
namespace {

float Dot(const float* a, const float* b) {
  float lanes[16] = {};
  for (int t = 0; t < kTileTokens; ++t) lanes[t % 16] = std::fma(a[t], b[t], lanes[t % 16]);
  for (int distance = 1; distance < 16; distance *= 2) {
    for (int l = 0; l < 16; l += 2 * distance) lanes[l] += lanes[l + distance];
  }
  return lanes[0];
}

}  // namespace

void FusedBackward(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  for (int i = 0; i < columns.rows; ++i) {
    const uint32_t begin = columns.row_offsets[i], end = columns.row_offsets[i + 1];
    for (int t = 0; dx.data != nullptr && t < kTileTokens; ++t) {
      float sum = 0;
      for (uint32_t e = begin; e < end; ++e) sum = std::fma(columns.values[e], dy.at(columns.col_indices[e], t), sum);
      dx.at(i, t) = sum;
    }
    for (uint32_t e = begin; e < end; ++e) partial[e] += Dot(dy.row(columns.col_indices[e]), x.row(i));
  }
}

}  // namespace filigree::kernels::ref
