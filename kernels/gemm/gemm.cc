#include "kernels/gemm/gemm.h"

#include "kernels/base/check.h"

namespace filigree::kernels {

void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y) {
  CHECK(x.channels == in && y.channels == out, "w is {} x {}, x has {} channels, y {}", out, in, x.channels,
        y.channels);
  ref::GemmForward(w, out, in, x, bias, y);
}

void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx) {
  CHECK(dy.channels == out && dx.channels == in, "w is {} x {}, dy has {} channels, dx {}", out, in, dy.channels,
        dx.channels);
  ref::GemmBackward(w, out, in, dy, dx);
}

}  // namespace filigree::kernels
