#include "kernels/rms_norm/rms_norm.h"

namespace filigree::kernels {

void RmsNormForward(ConstTile x, const float* gain, Tile y, float* r) { ref::RmsNormForward(x, gain, y, r); }

void RmsNormBackward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain) {
  ref::RmsNormBackward(dy, x, gain, r, dx, dgain);
}

}  // namespace filigree::kernels
