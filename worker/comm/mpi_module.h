#ifndef FILIGREE_WORKER_COMM_MPI_MODULE_H_
#define FILIGREE_WORKER_COMM_MPI_MODULE_H_

#include <memory>

#include "absl/status/status.h"
#include "worker/comm/transport.h"

// Between the program and filigree_mpi.so, which are built together. Nothing else of the module is visible.

namespace filigree::comm {

struct MpiModule {
  absl::Status (*world)(std::unique_ptr<Transport>* transport);
  void (*abort)(int exit_code);
  void (*finish)();
};

// The name of the function in the module that returns one; it returns null to a program of another build.
constexpr char kMpiModuleEntry[] = "FiligreeMpiModule";
constexpr int kMpiModuleVersion = 1;
using MpiModuleEntry = const MpiModule* (*)(int version);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_MPI_MODULE_H_
