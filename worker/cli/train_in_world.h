#ifndef FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_
#define FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/config/settings.h"
#include "worker/parallel/generations.h"
#include "worker/parallel/world.h"
#include "worker/train/open_run.h"

// What `filigree train` does once its ranks know each other: the run from its beginning, from the last checkpoint, or,
// after a loss, from what those who are left have in memory.

namespace filigree::cli {

// The run as this process has it open; null: it has not.
using HeldRun = std::unique_ptr<train::OpenedRun>;
using OnFailure = std::function<void(const std::string& report)>;

// Trains under the eyes of a watchdog. `first_start`: no generation was before this one. `over` becomes true when
// training has come back. `run` is kept for the next generation. `fencing`: who commits checkpoints, borrowed; null: no
// coordinator. The outcome's `lost`: why this world goes on no more, with kExitRankLost (IsSuperseded: its generation
// is over, it wrote too late); all else was said to the user.
parallel::Outcome TrainInWorld(bool quiet, const config::Settings& settings, bool first_start, parallel::World& world,
                               OnFailure on_failure, std::atomic<bool>& over, HeldRun& run,
                               train::Fencing* fencing = nullptr);

// A loss that the ranks of a world may outlive: some do not reach each other any more. OK: there is none.
absl::Status LossOf(const parallel::World& world);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_
