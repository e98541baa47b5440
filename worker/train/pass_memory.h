#ifndef FILIGREE_WORKER_TRAIN_PASS_MEMORY_H_
#define FILIGREE_WORKER_TRAIN_PASS_MEMORY_H_

#include <cstdint>

#include "worker/config/settings.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"

// What the passes of a run take: those of a step, which keep everything for the way back, and those of evaluations and
// samples, which keep nothing. It depends on no weight and on no density, so it is the same at every step.

namespace filigree::train {

// Bytes of one rank.
struct PassMemory {
  int64_t activations = 0;  // of the largest shard, forward and backward
  int64_t evaluation = 0;   // of evaluations and samples
  int64_t scratch = 0;      // of threads
  int64_t passed = 0;       // activations on their way between ranks that share the model
};
PassMemory MemoryOfPasses(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                          int rank);

// How many sequences an evaluation may work on at once, so that it takes half of what the passes of a step do: as many
// as a shard has in any case, as these take no more than the step. The same for all ranks that share the model. With a
// thread a sequence it would grow with the machine, and where shards are small, as for the widest models, beyond the
// step itself.
int SequencesEvaluatedAtOnce(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                             int rank);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_PASS_MEMORY_H_
