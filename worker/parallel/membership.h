#ifndef FILIGREE_WORKER_PARALLEL_MEMBERSHIP_H_
#define FILIGREE_WORKER_PARALLEL_MEMBERSHIP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/transport.h"
#include "worker/parallel/grid.h"

// Who trains together. A job goes through generations, each a group of processes that all know each other; the loss of
// one ends its generation, and those who are left become the next, in the same processes. Which one that is and who is
// in it is decided in one place for all: a store that the processes share (store_membership.h), or a coordinator.

namespace filigree::parallel {

struct Generation {
  int64_t number = 0;
  bool first = false;        // none was before it: whoever does not come to it ends the job
  std::optional<Grid> grid;  // that was decided on; absent: the one of the settings, after a loss what fits
  std::vector<int> members;  // processes, by the numbers they were started with, in the order of ranks
  std::vector<int> idle;     // who is there and not needed
  int rank = 0;              // of this process
  std::optional<int> over;   // the job has ended with this exit code, and this process had no part in the end

  int size() const { return static_cast<int>(members.size()); }
};

class Membership {
 public:
  virtual ~Membership() = default;

  // The generation this process begins with.
  virtual absl::StatusOr<Generation> First() = 0;
  // This process lives and will take part in what follows `lost`. From any thread, as soon as a loss is noticed: the
  // others do not wait for those who have not said so. Next says it too.
  virtual void Announce(const Generation& lost) = 0;
  // The generation after `last` that this process is in; all who are left call it. While there is no need for this
  // process it waits. `missed`: what was missed in `last`, in words; empty: it was left because somebody asked for
  // that. Errors: Unavailable where the place to decide is not reached or too few are left.
  virtual absl::StatusOr<Generation> Next(const Generation& last, const std::string& missed) = 0;

  // The group of a generation, whose members all call it. Errors: those of the backend; whoever does not come is lost.
  virtual absl::StatusOr<std::unique_ptr<comm::Transport>> Join(const Generation& generation) = 0;

  // The job has ended: nobody needs to wait any more. By as many members as know it, with the same code.
  virtual void Finish(int exit_code) = 0;
};

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_MEMBERSHIP_H_
