#ifndef FILIGREE_WORKER_COMM_MPI_H_
#define FILIGREE_WORKER_COMM_MPI_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/comm/transport.h"

// Ranks that mpirun or srun started. MPI is opened when it is asked for: the program itself is not linked to it and
// runs on machines that have none; the module filigree_mpi.so beside the program is (FILIGREE_MPI_MODULE names another
// file).
//
// Open MPI ends the whole job when a process of it dies, so that Unavailable is rare here; a rank that stops answering
// is noticed by the deadlines of operations, none of which waits inside MPI. After such a failure MPI may still read
// arrays that were being sent, and write those that were being received, until the job ends; so end it soon.

namespace filigree::comm {

// Whether a launcher of MPI ranks has started this process (environment of Open MPI, PMI or PMIx).
bool UnderMpi();

// All ranks of the job, in a group of its own each time; every rank calls it as often. The first call initialises MPI,
// with MPI_THREAD_MULTIPLE where it can. Errors: Unavailable where the module or the library cannot be opened (says
// which file and which package); FailedPrecondition where MPI offers no threads.
absl::StatusOr<std::unique_ptr<Transport>> MpiWorld();

// Ends the job of all ranks at once, as MPI_Abort does; without MPI this process only. For watchdogs, from any thread.
[[noreturn]] void AbortMpi(int exit_code);

// Leaves MPI in an orderly way; every rank calls it, after the last transport is gone. Nothing where MPI was never
// opened.
void FinishMpi();

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_MPI_H_
