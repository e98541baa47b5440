#ifndef FILIGREE_WORKER_TRAIN_MEMORY_H_
#define FILIGREE_WORKER_TRAIN_MEMORY_H_

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "worker/config/settings.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"

// Does a run fit into the machine? Asked before anything is allocated or written.

namespace filigree::train {

// The least a rank of a run holds at once, in bytes, at the step that needs the most of those to come: in the exact
// regime that is when matrices are sparse enough to be compressed, as they stay dense beside it; in the active one the
// first, or where a run that starts dense leaves its dense phase. Arrays that were larger once are taken to stay so.
struct RunMemory {
  int64_t step = 0;         // that needs it
  int64_t elements = 0;     // trained: all there are, or those that exist
  int64_t candidates = 0;   // of these, entries of matrices on candidates
  int64_t state = 0;        // weights and two moments
  int64_t gradients = 0;    // of the shards' summation tree
  int64_t sets = 0;         // positions of candidates, the form they are computed in, gradients sequence by sequence,
                            // and what is looked at for newcomers
  int64_t masks = 0;        // and the compressed form of matrices that exist whole
  int64_t refresh = 0;      // while candidates change, and not between
  int64_t activations = 0;  // of the largest shard, forward and backward
  int64_t evaluation = 0;   // of evaluations and samples, and not between
  int64_t scratch = 0;      // of threads, and of tables whose gradients are added
  int64_t copies = 0;       // of this rank's part of a model that ranks share
  int64_t passed = 0;       // activations on their way between those ranks
  int64_t messages = 0;     // gradients on theirs, and what is held back of them

  int64_t steady() const {
    return state + gradients + sets + masks + activations + scratch + copies + passed + messages;
  }
  int64_t total() const { return steady() + std::max(refresh, evaluation); }  // at the worst moment
};

// fp32, but for activations that the spec stores as bf16. Of the settings: regime, densities, candidates, batch and
// shards. from: the step that it goes on with.
RunMemory MemoryOfRun(const model::ModelSpec& spec, const config::Settings& settings, int64_t from = 0);

// Of one rank of several. Where the ranks of a tensor group share matrices on candidates, how many of these fall to
// each is taken as even: that depends on the weights drawn.
RunMemory MemoryOfRank(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                       int rank, int64_t from = 0);

// InvalidArgument where the rank needs more than `available` bytes: says what for, and what would fit.
absl::Status CheckMemory(const model::ModelSpec& spec, const config::Settings& settings, int64_t available,
                         const parallel::Grid& grid = {}, int rank = 0, int64_t from = 0);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_MEMORY_H_
