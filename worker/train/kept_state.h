#ifndef FILIGREE_WORKER_TRAIN_KEPT_STATE_H_
#define FILIGREE_WORKER_TRAIN_KEPT_STATE_H_

#include "absl/status/statusor.h"
#include "worker/parallel/world.h"
#include "worker/train/open_run.h"

namespace filigree::train {

// After a loss: can the ranks of the new world go on from the state that each of them still has in memory? A step
// changes nothing before its last exchange is over, so that states are whole; they can where all are at the same step
// with the same digests, none is owed an unsent gradient (parallel.wire, parallel.exchange), no matrix had an owner,
// who alone has its moments (ownership.h), and the first rank has been the first before, whose log has every step so
// far. Collective, the same answer on all ranks. `run`: of this rank; null: it has none. Errors: those of the world.
absl::StatusOr<bool> HoldSameState(const OpenedRun* run, parallel::World& world);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_KEPT_STATE_H_
