#ifndef FILIGREE_WORKER_AGENT_LAUNCH_H_
#define FILIGREE_WORKER_AGENT_LAUNCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/agent/children.h"
#include "worker/agent/rank_table.h"

namespace filigree::agent {

// Where and as what ranks are started.
struct LaunchPlace {
  std::string program;  // started as PROGRAM train CONFIG ...
  std::string folder;   // to run in
  std::string socket;   // of the agent
  std::vector<std::string> environment;
};

// The environment of this process, without what belongs to whoever started it: variables of MPI and Slurm, of ranks
// started by hand, and how to reach the coordinator, which ranks do through their agent.
std::vector<std::string> EnvironmentOfRanks(char** environment);

// PROGRAM train CONFIG ARGUMENTS --telemetry.job= --parallel.backend= --parallel.data= --parallel.tensor=, for backend
// mpi under mpirun.
// FILIGREE_AGENT and FILIGREE_PROCESS tell a process whom to ask what it is. NotFound: there is no mpirun.
absl::StatusOr<Command> CommandOf(const LaunchPlace& place, const Start& start, const std::string& config);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_LAUNCH_H_
