#ifndef FILIGREE_WORKER_TRAIN_MEMORY_H_
#define FILIGREE_WORKER_TRAIN_MEMORY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "worker/config/settings.h"
#include "worker/model/spec.h"

// Does a run fit into the machine? Asked before anything is allocated or written.

namespace filigree::train {

// The least a run holds at once, in bytes, at its first step: later ones hold less where densities fall, as they do but
// for settings that make them rise. Masks and, in the exact regime, compressed copies of sparse matrices come on top: a
// few percent.
struct RunMemory {
  int64_t elements = 0;     // trained: all there are, or those that exist
  int64_t candidates = 0;   // of these, entries of matrices on candidates
  int64_t state = 0;        // weights and two moments
  int64_t gradients = 0;    // of the shards' summation tree
  int64_t sets = 0;         // positions of candidates, the form they are computed in, gradients sequence by sequence,
                            // and what is looked at for newcomers
  int64_t activations = 0;  // of the largest shard, forward and backward

  int64_t total() const { return state + gradients + sets + activations; }
};

// fp32. Of the settings: regime, densities, candidates, batch and shards.
RunMemory MemoryOfRun(const model::ModelSpec& spec, const config::Settings& settings);

// Bytes this process may use: what the machine has, or its control group allows.
int64_t MachineMemory();

// InvalidArgument where the run needs more than `available` bytes: says what for, and what would fit.
absl::Status CheckMemory(const model::ModelSpec& spec, const config::Settings& settings, int64_t available);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_MEMORY_H_
