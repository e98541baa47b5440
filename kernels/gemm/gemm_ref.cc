#include <cmath>

#include "kernels/gemm/gemm.h"

namespace filigree::kernels::ref {

void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y) {
  for (int o = 0; o < out; ++o) {
    for (int t = 0; t < kTileTokens; ++t) {
      float sum = bias == nullptr ? 0.0f : bias[o];
      for (int i = 0; i < in; ++i) sum = std::fma(w[int64_t{o} * in + i], x.at(i, t), sum);
      y.at(o, t) = sum;
    }
  }
}

void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx) {
  for (int i = 0; i < in; ++i) {
    for (int t = 0; t < kTileTokens; ++t) {
      float sum = 0;
      for (int o = 0; o < out; ++o) sum = std::fma(w[int64_t{o} * in + i], dy.at(o, t), sum);
      dx.at(i, t) = sum;
    }
  }
}

}  // namespace filigree::kernels::ref
