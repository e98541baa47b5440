#ifndef FILIGREE_WORKER_RUN_SAVE_TOGETHER_H_
#define FILIGREE_WORKER_RUN_SAVE_TOGETHER_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/parts.h"
#include "worker/parallel/world.h"
#include "worker/run/commit.h"

namespace filigree::train {

// A checkpoint of a state that all ranks hold, of which each writes a share, and what it alone has (worker/checkpoint/
// parts.h). writers: of each tensor the rank of the world that writes it, as not all hold its moments
// (train::WritersOf); -1: any. Collective; all ranks fail if one does, with its reason and number. The result is the
// first rank's; others know path and point alone. fencing: as checkpoint::Save, on every rank or on none.
absl::StatusOr<checkpoint::SaveResult> SaveTogether(parallel::World& world, checkpoint::FileSystem& files,
                                                    const std::string& run_dir, const checkpoint::State& state,
                                                    std::span<const checkpoint::OwnTensor> own,
                                                    std::span<const int> writers, int keep_last,
                                                    const Fencing* fencing = nullptr);

// The same of a state that some ranks hold.
struct HoldersOfState {
  std::span<const int> ranks;  // ascending
  std::span<const int>
      writers;  // of each tensor, the place among `ranks` of one that has its moments; -1: all have them
};
// Of the others `state` is null. Collective, of all ranks.
absl::StatusOr<checkpoint::SaveResult> SaveOfHolders(parallel::World& world, checkpoint::FileSystem& files,
                                                     const std::string& run_dir, const checkpoint::State* state,
                                                     const HoldersOfState& holders, int keep_last,
                                                     const Fencing* fencing);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_SAVE_TOGETHER_H_
