#ifndef FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_
#define FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/cli/metrics.h"
#include "worker/config/settings.h"
#include "worker/parallel/generations.h"
#include "worker/parallel/watchdog.h"
#include "worker/parallel/world.h"
#include "worker/run/open_run.h"

// What `filigree train` does once its ranks know each other: the run from its beginning, from the last checkpoint, or,
// after a loss, from what those who are left have in memory.

namespace filigree::cli {

// The run as this process has it open; null: it has not.
using HeldRun = std::unique_ptr<train::OpenedRun>;
using OnFailure = parallel::Watchdog::OnFailure;

// What surrounds training in one world.
struct Surroundings {
  bool quiet = false;
  bool first_start = true;  // this process trains for the first time
  OnFailure on_failure;     // of the watchdog
  OnFailure on_stuck;       // the same where this rank is stuck; empty: on_failure
  std::function<bool()> stop_requested;
  std::string job;                    // of a coordinator; empty: there is none
  train::Fencing* fencing = nullptr;  // who commits checkpoints, borrowed; null: no coordinator
  // The metrics of this rank of this world, as soon as there are some; empty: nobody asks.
  std::function<void(const ShownMetrics& shown)> metrics;
};

// Trains under the eyes of a watchdog. `over` becomes true when training has come back. `run` is kept for the next
// generation. The outcome's `lost`: why this world goes on no more, with kExitRankLost (IsSuperseded: its generation is
// over, it wrote too late); all else was said to the user.
parallel::Outcome TrainInWorld(const Surroundings& surroundings, const config::Settings& settings,
                               parallel::World& world, std::atomic<bool>& over, HeldRun& run);

// For a watchdog, after it has aborted the world: ends a process whose training does not come back from it, since it
// hangs itself.
void EndUnless(const std::atomic<bool>& over, parallel::World& world);

// A loss that the ranks of a world may outlive: some do not reach each other any more. OK: there is none.
absl::Status LossOf(const parallel::World& world);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_TRAIN_IN_WORLD_H_
