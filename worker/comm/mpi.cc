#include "worker/comm/mpi.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "worker/comm/mpi_module.h"

namespace filigree::comm {
namespace {

// Set once the module has been opened; read by watchdogs.
std::atomic<const MpiModule*> opened{nullptr};

std::string ModulePath() {
  if (const char* path = std::getenv("FILIGREE_MPI_MODULE"); path != nullptr && *path != '\0') return path;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / "filigree_mpi.so").string();
}

// The module stays open until the process ends, as MPI does.
absl::StatusOr<const MpiModule*> Open() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (const MpiModule* module = opened.load()) return module;
  const std::string path = ModulePath();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(
        fmt::format("cannot open the MPI module {}: {}. It is built beside the program; the library it needs is in "
                    "Debian's packages "
                    "libopenmpi3 and openmpi-bin (deploy/install.sh)",
                    path, dlerror()));
  }
  const auto entry = reinterpret_cast<MpiModuleEntry>(dlsym(library, kMpiModuleEntry));
  const MpiModule* module = entry == nullptr ? nullptr : entry(kMpiModuleVersion);
  if (module == nullptr) {
    return absl::UnavailableError(fmt::format("{} is no MPI module of this program; build both together", path));
  }
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
