#include "kernels/activation/activation_ref.h"

#include "kernels/activation/activation.h"
#include "kernels/base/check.h"

namespace filigree::kernels::ref {

void ActivationForward(Activation kind, ConstTile x, Tile y) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  for (size_t i = 0; i < x.size(); ++i) {
    y.data[i] = static_cast<float>(kind == Activation::kGelu ? Gelu(x.data[i]) : Relu(x.data[i]));
  }
}

void ActivationBackward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx) {
  CHECK(dy.channels == x.channels && dx.channels == x.channels, "dy has {} channels, x {}, dx {}", dy.channels,
        x.channels, dx.channels);
  for (int c = 0; c < x.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) {
      const bool keep = kept == nullptr || (kept[c] >> t & 1) != 0;
      const double slope = kind == Activation::kGelu ? GeluDerivative(x.at(c, t)) : ReluDerivative(x.at(c, t));
      // Where the slope is 0 nothing passes, an infinite dy included.
      dx.at(c, t) = keep && slope != 0 ? static_cast<float>(dy.at(c, t) * slope) : 0.0f;
    }
  }
}

void Accumulate(ConstTile x, Tile y) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  for (size_t i = 0; i < x.size(); ++i) y.data[i] += x.data[i];
}

}  // namespace filigree::kernels::ref
