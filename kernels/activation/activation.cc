#include "kernels/activation/activation.h"

namespace filigree::kernels {

void ActivationForward(Activation kind, ConstTile x, Tile y) { ref::ActivationForward(kind, x, y); }

void ActivationBackward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx) {
  ref::ActivationBackward(kind, dy, kept, x, dx);
}

void Accumulate(ConstTile x, Tile y) { ref::Accumulate(x, y); }

}  // namespace filigree::kernels
