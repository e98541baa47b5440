#include <utility>

#include "worker/comm/local.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/world.h"

namespace filigree::parallel {

absl::StatusOr<std::unique_ptr<World>> World::Open(const absl::StatusOr<config::Settings>& settings) {
  using config::Backend;
  const Backend wanted = settings.ok() ? settings->parallel.backend : Backend::kAuto;
  if (wanted == Backend::kGloo) {
    return absl::UnimplementedError(
        "parallel.backend \"gloo\" needs a coordinator to meet through; start the ranks with mpirun and leave it "
        "\"auto\"");
  }
  if (wanted == Backend::kMpi && !comm::UnderMpi()) {
    return absl::FailedPreconditionError(
        "parallel.backend is \"mpi\", but no MPI launcher started this process; start it as "
        "mpirun -n RANKS filigree train ...");
  }
  if (wanted == Backend::kLocal || !comm::UnderMpi()) {
    return Make(settings, std::move(comm::LocalTransports(1).front()));
  }
  absl::StatusOr<std::unique_ptr<comm::Transport>> transport = comm::MpiWorld();
  if (!transport.ok()) return transport.status();
  return Make(settings, *std::move(transport));
}

}  // namespace filigree::parallel
