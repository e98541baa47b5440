#ifndef FILIGREE_WORKER_RUN_COMMIT_H_
#define FILIGREE_WORKER_RUN_COMMIT_H_

#include "worker/checkpoint/commit.h"

// The seam between training and a coordinator that commits its checkpoints. OpenRun and TrainerOptions take a Fencing*;
// null: no coordinator.

namespace filigree::train {

using checkpoint::CommitPoint;
using checkpoint::Fencing;
using checkpoint::IsSuperseded;

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_COMMIT_H_
