#ifndef FILIGREE_WORKER_PARALLEL_LAUNCH_H_
#define FILIGREE_WORKER_PARALLEL_LAUNCH_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/config/settings.h"

// What whoever starts the ranks of a job says to each of them, by hand or with any launcher: environment variables.
//
//   FILIGREE_RANK         which rank this is, from 0; else SLURM_PROCID, OMPI_COMM_WORLD_RANK
//   FILIGREE_RANKS        how many were started; else SLURM_NTASKS, OMPI_COMM_WORLD_SIZE
//   FILIGREE_STORE        a folder that all of them see, where they meet
//   FILIGREE_GENERATION   a name that no other start in this folder has; else SLURM_JOB_ID, else "0"
//   FILIGREE_HOST         address at which the others reach this rank; else that of the machine's name
//   FILIGREE_INTERFACE    network interface to listen on, instead

namespace filigree::parallel {

struct Launch {
  int rank = 0, ranks = 1;
  std::string store, generation, host, interface;
};

using Environment = std::function<const char*(const char* name)>;  // as getenv

// Do the ranks of these settings meet through a store? Where parallel.backend is "auto" they do if FILIGREE_STORE is
// set and no MPI launcher has started us. Settings that could not be read count as "auto".
bool MeetThroughStore(const absl::StatusOr<config::Settings>& settings, const Environment& environment);

// InvalidArgument: says which variable is missing or wrong, and what it should be.
absl::StatusOr<Launch> ReadLaunch(const Environment& environment);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_LAUNCH_H_
