#ifndef FILIGREE_WORKER_RUN_KEPT_STATE_H_
#define FILIGREE_WORKER_RUN_KEPT_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/file_system.h"
#include "worker/parallel/world.h"
#include "worker/run/commit.h"
#include "worker/run/open_run.h"
#include "worker/telemetry/records.h"

// After a loss: what the ranks of the new world still have in memory, so that no more than the step under way is lost.

namespace filigree::train {

struct Kept {
  enum class Way {
    kMemory,      // all hold what they need of it: they go on
    kCheckpoint,  // some held it and have saved it: all open the run, and find it there
    kNothing,     // all open the run from its last checkpoint
  };
  Way way = Way::kNothing;
  int64_t step = 0;                                    // of the state that is kept
  Owed owed = Owed::kNothing;                          // at it, where it is that after the last step
  std::string note = {};                               // what the user should know; empty: nothing
  std::vector<telemetry::StepRecord> last_steps = {};  // of kCheckpoint, as OpenedRun's: a newcomer may write the log
};

// Which way the ranks go on, the same answer on all; collective. `run`: of this rank, null: it has none. A state counts
// where no update was broken off in it and none is owed an unsent gradient (parallel.wire, parallel.exchange); of those
// the newest of which some ranks together have everything (moments of a matrix with an owner, ownership.h, may have
// been lost with that rank), if its holders have the same digests. The state after the last step counts where something
// is owed at it (OpenedRun::owed): else the run is over.
//
// Where all hold it, with the moments that they own in the new world, the first rank takes the lock of the run folder
// if it has it not. Where newcomers do not, or ranks that are behind or own other matrices now, those who do save it
// together into the run folder, which with fencing is a commit. Never with fencing->rollback, nor where it is behind
// fencing->resume.
//
// Errors: those of the world; IsSuperseded; of the lock, where all hold it. A save that fails otherwise is a note.
absl::StatusOr<Kept> KeepState(OpenedRun* run, const std::string& run_dir, int keep_last, parallel::World& world,
                               checkpoint::FileSystem& files, Fencing* fencing);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_KEPT_STATE_H_
