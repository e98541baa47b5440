#ifndef FILIGREE_WORKER_AGENT_SPAWN_H_
#define FILIGREE_WORKER_AGENT_SPAWN_H_

#include "absl/status/statusor.h"
#include "worker/agent/children.h"

namespace filigree::agent {

// A process that is about to become a program.
struct Forked {
  Child child;
  int report = -1;  // where it says that it could not
};

// Forks a process that will be as Children describes it; nobody watches over it yet. Waits for nothing.
absl::StatusOr<Forked> Fork(const Command& command);

// Waits until the program runs; else says why it does not, and the process ends by itself. Closes `forked.report`, and
// where it fails the output.
absl::Status AwaitProgram(const Command& command, const Forked& forked);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_SPAWN_H_
