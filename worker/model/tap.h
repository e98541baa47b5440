#ifndef FILIGREE_WORKER_MODEL_TAP_H_
#define FILIGREE_WORKER_MODEL_TAP_H_

#include <cstdint>

#include "kernels/base/tile.h"
#include "worker/model/spec.h"

// Looking at activations and changing them: a tap is called at every place of the model, in training and in inference,
// on the very tiles the model computes with.

namespace filigree::model {

struct TapPoint {
  Place place = Place::kResidIn;
  int layer = 0;                   // the number of layers at kFinalResid
  int sequence = 0;                // of the call's sequences
  int tile = 0;                    // tokens [64 tile, 64 tile + 64) of the sequence; those past its end are padding
  const uint64_t* kept = nullptr;  // AbsTopK's kept bits, one word a channel; null where AbsTopK is off
};

// Threads: called from several threads at once, for different sequences; the tiles of one sequence and place come in
// ascending order from one thread, the places of a sequence in the order of the pass.
class Tap {
 public:
  virtual ~Tap() = default;

  // May the tap change what it sees? Then the model computes as if every entry could be nonzero.
  virtual bool intervenes() const { return false; }

  // After AbsTopK at this place. An intervening tap may change `values`.
  virtual void Forward(const TapPoint& point, kernels::Tile values) = 0;

  // The gradient of the loss by the values that Forward left, before AbsTopK's own mask. An intervening tap may change
  // it (to what the loss's gradient is by the values that Forward got).
  virtual void Backward(const TapPoint& point, kernels::Tile gradient) {
    (void)point;
    (void)gradient;
  }
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_TAP_H_
