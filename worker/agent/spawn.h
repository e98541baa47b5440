#ifndef FILIGREE_WORKER_AGENT_SPAWN_H_
#define FILIGREE_WORKER_AGENT_SPAWN_H_

#include "absl/status/statusor.h"
#include "worker/agent/children.h"

namespace filigree::agent {

// Starts one process as Children describes it; nobody watches over it yet. The call comes back when the program runs or
// could not be started. Threads: any, see Children.
absl::StatusOr<Child> Spawn(const Command& command);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_SPAWN_H_
