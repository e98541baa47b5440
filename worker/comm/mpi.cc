#include "worker/comm/mpi.h"

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "worker/comm/mpi_module.h"
#include "worker/comm/open_module.h"

namespace filigree::comm {
namespace {

// Set once the module has been opened; read by watchdogs.
std::atomic<const MpiModule*> opened{nullptr};

constexpr ModuleFile kFile = {"MPI", "filigree_mpi.so", "FILIGREE_MPI_MODULE", kMpiModuleEntry,
                              "libopenmpi3 and openmpi-bin"};

// The module stays open until the process ends, as MPI does.
absl::StatusOr<const MpiModule*> Open() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (const MpiModule* module = opened.load()) return module;
  const absl::StatusOr<void*> entry = OpenModule(kFile);
  if (!entry.ok()) return entry.status();
  const MpiModule* module = reinterpret_cast<MpiModuleEntry>(*entry)(kMpiModuleVersion);
  if (module == nullptr) return OtherBuild(kFile);
  opened.store(module);
  return module;
}

}  // namespace

bool UnderMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<Transport>> MpiWorld() {
  const absl::StatusOr<const MpiModule*> module = Open();
  if (!module.ok()) return module.status();
  std::unique_ptr<Transport> transport;
  if (absl::Status status = (*module)->world(&transport); !status.ok()) return status;
  return transport;
}

void AbortMpi(int exit_code) {
  if (const MpiModule* module = opened.load()) module->abort(exit_code);
  std::_Exit(exit_code);
}

void FinishMpi() {
  if (const MpiModule* module = opened.load()) module->finish();
}

}  // namespace filigree::comm
