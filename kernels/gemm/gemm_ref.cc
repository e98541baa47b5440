#include <algorithm>
#include <cmath>

#include "kernels/gemm/gemm.h"

namespace filigree::kernels::ref {
namespace {

// start + sum over k of weight(k) * x[k, t], in blocks of kGemmDepth.
template <typename Weight>
float BlockedSum(float start, int channels, ConstTile x, int t, Weight weight) {
  for (int block = 0; block < channels; block += kGemmDepth) {
    float sum = 0;
    for (int k = block; k < std::min(block + kGemmDepth, channels); ++k) sum = std::fma(weight(k), x.at(k, t), sum);
    start += sum;
  }
  return start;
}

}  // namespace

void GemmForward(const float* w, int w_stride, int out, int in, ConstTile x, const float* bias, Tile y) {
  for (int o = 0; o < out; ++o) {
    const float* row = w + int64_t{o} * w_stride;
    for (int t = 0; t < kTileTokens; ++t) {
      y.at(o, t) = BlockedSum(bias == nullptr ? 0.0f : bias[o], in, x, t, [row](int i) { return row[i]; });
    }
  }
}

void GemmBackward(const float* w, int out, int in, ConstTile dy, GemmWrite write, Tile dx) {
  for (int i = 0; i < in; ++i) {
    for (int t = 0; t < kTileTokens; ++t) {
      const float start = write == GemmWrite::kAdd ? dx.at(i, t) : 0.0f;
      dx.at(i, t) = BlockedSum(start, out, dy, t, [=](int o) { return w[int64_t{o} * in + i]; });
    }
  }
}

}  // namespace filigree::kernels::ref
