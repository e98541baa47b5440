#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "worker/comm/host_name.h"
#include "worker/comm/mpi/job.h"
#include "worker/comm/mpi/transport.h"
#include "worker/comm/mpi_module.h"

// filigree_mpi.so: what is linked to MPI.

namespace filigree::comm {
namespace {

constexpr auto kStartDeadline = std::chrono::seconds(60);

struct World {
  std::shared_ptr<MpiJob> job;
  std::unique_ptr<Transport> root;  // makes the groups
  uint64_t rounds = 0;
  bool finished = false;
};
World& TheWorld() {
  static World world;
  return world;
}

// Every rank learns the names of the machines.
absl::Status ShareHosts(World& world) {
  constexpr size_t kBytes = 256;
  const std::string own = HostName().substr(0, kBytes);
  std::vector<std::string> hosts(static_cast<size_t>(world.job->size()), std::string(kBytes, '\0'));
  std::vector<OutgoingMessage> out;
  std::vector<IncomingMessage> in;
  for (int r = 0; r < world.job->size(); ++r) {
    if (r == world.job->rank()) continue;
    out.push_back({r, own.data(), own.size()});
    in.push_back({r, hosts[static_cast<size_t>(r)].data(), kBytes});
  }
  const auto deadline = std::chrono::steady_clock::now() + kStartDeadline;
  world.job->SetHosts(std::vector<std::string>(hosts.size(), "an unknown host"));
  if (absl::Status status = world.root->Exchange(world.rounds++, out, in, deadline); !status.ok()) return status;
  hosts[static_cast<size_t>(world.job->rank())] = own;
  for (std::string& host : hosts) host.resize(std::min(host.size(), host.find('\0')));
  world.job->SetHosts(std::move(hosts));
  return absl::OkStatus();
}

absl::Status NewWorld(std::unique_ptr<Transport>* transport) {
  World& world = TheWorld();
  if (world.finished) return absl::FailedPreconditionError("MPI has been left (FinishMpi) and cannot start again");
  if (world.root == nullptr) {
    if (absl::Status status = MpiJob::Start(&world.job); !status.ok()) return status;
    std::vector<int> all(static_cast<size_t>(world.job->size()));
    std::iota(all.begin(), all.end(), 0);
    world.root = std::make_unique<MpiTransport>(world.job, 0, std::move(all));
    if (absl::Status status = ShareHosts(world); !status.ok()) return status;
  }
  std::vector<int> all(static_cast<size_t>(world.job->size()));
  std::iota(all.begin(), all.end(), 0);
  auto group = world.root->Subgroup(world.rounds++, all, std::chrono::steady_clock::now() + kStartDeadline);
  if (!group.ok()) {
    return absl::Status(group.status().code(),
                        fmt::format("the ranks of the MPI job do not meet: {}", std::string(group.status().message())));
  }
  *transport = *std::move(group);
  return absl::OkStatus();
}

void Abort(int exit_code) { MPI_Abort(MPI_COMM_WORLD, exit_code); }

void Finish() {
  World& world = TheWorld();
  if (world.job == nullptr || world.finished) return;
  world.finished = true;
  world.root = nullptr;
  world.job->Finish();
}

}  // namespace
}  // namespace filigree::comm

extern "C" __attribute__((visibility("default"))) const filigree::comm::MpiModule* FiligreeMpiModule(int version) {
  static constexpr filigree::comm::MpiModule kModule = {filigree::comm::NewWorld, filigree::comm::Abort,
                                                        filigree::comm::Finish};
  return version == filigree::comm::kMpiModuleVersion ? &kModule : nullptr;
}
