#ifndef FILIGREE_WORKER_COMM_MPI_H_
#define FILIGREE_WORKER_COMM_MPI_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/comm/transport.h"

// Ranks that mpirun or srun started. MPI is opened when it is asked for: the program itself is not linked to it and
// runs on machines that have none; the module filigree_mpi.so beside the program is.

namespace filigree::comm {

// Whether a launcher of MPI ranks has started this process (environment of Open MPI, PMI or PMIx).
bool UnderMpi();

// Initialises MPI (once a process) with MPI_THREAD_MULTIPLE where it can. Errors: Unavailable where the module or the
// library cannot be opened (says which file and which package); FailedPrecondition where MPI offers no threads.
absl::StatusOr<std::unique_ptr<Transport>> MpiWorld();

// Ends the job of all ranks at once, as MPI_Abort does. For watchdogs.
void AbortMpi(int exit_code);

// Leaves MPI in an orderly way; every rank calls it, after the last transport is gone.
void FinishMpi();

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_MPI_H_
