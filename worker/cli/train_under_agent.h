#ifndef FILIGREE_WORKER_CLI_TRAIN_UNDER_AGENT_H_
#define FILIGREE_WORKER_CLI_TRAIN_UNDER_AGENT_H_

#include "absl/status/statusor.h"
#include "worker/config/settings.h"

namespace filigree::cli {

// `filigree train` in a process that an agent, or an mpirun of the agent's, has started (worker/attach): a rank of one
// generation after another (under mpirun of one), until the job is over or the agent is gone. parallel.elastic says
// nothing here: the coordinator decides who goes on.
int TrainUnderAgent(bool quiet, const absl::StatusOr<config::Settings>& settings);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_TRAIN_UNDER_AGENT_H_
