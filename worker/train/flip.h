#ifndef FILIGREE_WORKER_TRAIN_FLIP_H_
#define FILIGREE_WORKER_TRAIN_FLIP_H_

#include <cstdint>

#include "worker/train/ownership.h"
#include "worker/train/state.h"

// One wrong bit in the state of one rank, for tests of what finds it (fault.h).

namespace filigree::train {

enum class FlipTime { kBetweenUpdates, kInTheUpdate };

// Does nothing where FILIGREE_FAULT does not ask for it.
void FlipOnRequest(int64_t step, FlipTime time, const Ownership& ownership, TrainState& state);

// Changes one bit of a weight, a first moment, or the mask of one entry, in a matrix that this rank updates.
void FlipWeight(const Ownership& ownership, TrainState& state);
void FlipMoment(const Ownership& ownership, TrainState& state);
void FlipMask(const Ownership& ownership, TrainState& state);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_FLIP_H_
