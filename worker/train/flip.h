#ifndef FILIGREE_WORKER_TRAIN_FLIP_H_
#define FILIGREE_WORKER_TRAIN_FLIP_H_

#include <cstdint>

#include "worker/train/state.h"

// One wrong bit in the state of one rank, for tests of what finds it (fault.h).

namespace filigree::train {

enum class FlipTime { kBetweenUpdates, kInTheUpdate };

// Does nothing where FILIGREE_FAULT does not ask for it.
void FlipOnRequest(int64_t step, FlipTime time, TrainState& state);

// Changes one bit of a weight, a first moment, or the mask of one entry.
void FlipWeight(TrainState& state);
void FlipMoment(TrainState& state);
void FlipMask(TrainState& state);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_FLIP_H_
