#include <cstdlib>
#include <utility>

#include "worker/comm/local.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/launch.h"
#include "worker/parallel/store_membership.h"
#include "worker/parallel/world.h"

namespace filigree::parallel {

absl::StatusOr<std::unique_ptr<World>> World::Open(const absl::StatusOr<config::Settings>& settings) {
  using config::Backend;
  const Backend wanted = settings.ok() ? settings->parallel.backend : Backend::kAuto;
  if (MeetThroughStore(settings, std::getenv)) {
    absl::StatusOr<std::unique_ptr<Membership>> members = OpenStoreMembership(settings, {});
    if (!members.ok()) return members.status();
    const absl::StatusOr<Generation> first = (*members)->First();
    if (!first.ok()) return first.status();
    absl::StatusOr<std::unique_ptr<comm::Transport>> transport = (*members)->Join(*first);
    if (!transport.ok()) return transport.status();
    return Make(settings, *std::move(transport));
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
