#ifndef FILIGREE_WORKER_TRAIN_FAULT_H_
#define FILIGREE_WORKER_TRAIN_FAULT_H_

#include <cstddef>
#include <cstdint>

#include "worker/checkpoint/file_system.h"

// Faults on request, for tests of what survives them. The environment variable FILIGREE_FAULT holds one of
//
//   kill:PHASE:STEP     SIGKILL at the beginning of a phase of a step: data, forward, backward, exchange, optimizer,
//                       topk, refresh, log, checkpoint; evaluation: it is done and not logged yet; with a coordinator
//                       commit and committed: around its word.
//                       overlap: some gradients may have gone to other ranks, others are not there yet. backward is
//                       when the gradient of a rank's first shard is there: with one shard a rank and an exchange
//                       beside backward (parallel.overlap) after exchange and overlap
//
//   stop:PHASE:STEP     SIGSTOP there: a process that does nothing any more
//
//   hang:PHASE:STEP     there the thread that trains waits for ever; the others of its process go on
//
//   throw:PHASE:STEP    there it throws what nobody catches
//
//   flip:WHAT:STEP      one bit of the state changes before a step: weight, moment or mask; or, WHAT is update, of a
//                       weight while the step updates it. Once a process.
//
//   cut:tensor:STEP     the rank's connections to those that it shares the model with break before a step, and no other
//
//   nan:gradient:STEP   a rank's part of the gradient of a step has a NaN, however often it is computed
//
//   huge:loss:STEP      its part of the loss is too large by a million, likewise
//
//   kill:save:N         SIGKILL before the N-th file-system operation of saves, counted from 0
//
//   stop:save:N         SIGSTOP there
//
//   full:save:N:COUNT   operations N to N + COUNT - 1 of saves that write fail with "no space left on device"
//
// Where FILIGREE_FAULT_RANK is set as well, only that rank is hit.
//
// FILIGREE_FAULTS is a folder of empty files with such names, kill:PHASE:STEP, stop:PHASE:STEP, hang:PHASE:STEP,
// nan:gradient:STEP, huge:loss:STEP or kill:save:N (here of one save), that may be put there while the run goes on.
// Each hits one process once, which takes the file away. And
//
//   slow:PHASE:FACTOR   as long as it is there forward or backward take a whole FACTOR (2 to 9) times as long, by sleep
//
// Without these variables nothing happens and nothing is slower.

namespace filigree::train {

void FaultPoint(const char* phase, int64_t step);

// Has the variable asked for `kind`:`what`:`step` of this rank?
bool FaultAsked(const char* kind, const char* what, int64_t step);

// To be called with some of one shard's gradient, n > 0 values, before others see them.
void CorruptGradient(int64_t step, float* gradient, int64_t n);

// To be called with one shard's loss. The loss to be taken.
double CorruptedLoss(int64_t step, double loss);

// To be called at the end of the forward or backward work of a step, which took so many seconds: sleeps where it is to
// last longer. How long it took, with the sleep.
double SlowedDown(const char* phase, double seconds);

// Which rank this process is. Call it before the first step; without it: 0.
void SetFaultRank(int rank);

// The real file system, with the faults of the variable.
checkpoint::FileSystem& FaultyFileSystem();

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_FAULT_H_
