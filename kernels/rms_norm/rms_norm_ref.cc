#include "kernels/rms_norm/rms_norm_ref.h"

#include "kernels/base/check.h"
#include "kernels/rms_norm/rms_norm.h"

namespace filigree::kernels::ref {

void RmsNormForward(ConstTile x, const float* gain, Tile y, float* r) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  RmsNormForwardIn(x.data, x.channels, gain, y.data, r);
}

void RmsNormBackward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain) {
  CHECK(dy.channels == x.channels && dx.channels == x.channels, "dy has {} channels, x {}, dx {}", dy.channels,
        x.channels, dx.channels);
  RmsNormBackwardIn(dy.data, x.data, x.channels, gain, r, dx.data, dgain);
}

}  // namespace filigree::kernels::ref
