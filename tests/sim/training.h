#ifndef FILIGREE_TESTS_SIM_TRAINING_H_
#define FILIGREE_TESTS_SIM_TRAINING_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "coordinator/core/messages.h"

namespace filigree::sim {

// What the ranks of one generation do together: a step when all of them run, a checkpoint every few steps, a mask
// update in between. Rank 0 speaks for all where a commit is wanted.
struct GenerationRun {
  std::string job;
  int64_t generation = 0;
  int32_t count = 0;  // ranks
  int64_t step = 0, first_step = 0;
  int64_t steps = 0;  // of the whole run
  int64_t commit_every = 0, mask_every = 0;
  int64_t committed = -1;  // last step acknowledged to this generation
  bool damaged = false;    // rank `damaged_rank` holds other weights than its replicas
  int32_t damaged_rank = 0;
  bool tells_itself = false;  // the damage came between two updates: it contradicts what the rank said before
  std::set<int32_t> agreed;   // ranks that heard that the mask update at this step is agreed

  int64_t mask_epoch() const { return step / mask_every; }
  bool first_mask() const { return mask_epoch() == first_step / mask_every + 1; }
  bool at_mask() const { return step > 0 && step % mask_every == 0 && static_cast<int32_t>(agreed.size()) < count; }
  bool at_commit() const { return step > committed && (step >= steps || (step > 0 && step % commit_every == 0)); }
};

using Runs = std::map<std::pair<std::string, int64_t>, GenerationRun>;

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_TRAINING_H_
