#ifndef FILIGREE_WORKER_RUN_SNAPSHOT_H_
#define FILIGREE_WORKER_RUN_SNAPSHOT_H_

#include "kernels/base/thread_pool.h"
#include "worker/telemetry/records.h"
#include "worker/train/state.h"

namespace filigree::train {

// Nonzeros, alive units, threshold and magnitudes of every sparsified matrix. One read of the weights.
telemetry::SnapshotRecord TakeSnapshot(const TrainState& state, kernels::ThreadPool& pool);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_SNAPSHOT_H_
