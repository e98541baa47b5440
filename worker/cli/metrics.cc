#include "worker/cli/metrics.h"

#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "proto/contract/address.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/comm/host_name.h"
#include "worker/data/sha256.h"
#include "worker/run/run_facts.h"

namespace filigree::cli {
namespace {

// How many ranks below this one are on its host.
int PlaceOnHost(parallel::World& world) {
  int place = 0;
  for (int r = 0; r < world.rank(); ++r) place += world.all().host(r) == world.all().host(world.rank()) ? 1 : 0;
  return place;
}

metrics::RankOptions Describe(const config::Settings& settings, const std::string& job, const parallel::World& world) {
  const bool alone = job.empty() && settings.telemetry.job.empty();
  metrics::RankOptions options;
  options.build = BuildOfThisProgram();
  options.run_id = alone ? settings.run.name : job.empty() ? settings.telemetry.job : job;
  options.rank = world.rank();
  options.shows_run = alone;
  if (!world.first()) return options;
  metrics::RunInfo& run = options.run.emplace();
  run.run_name = settings.run.name;
  run.config_sha256 = data::Sha256Hex(train::StoredSettingsText(settings));
  run.dp = world.grid().data;
  run.tp = world.grid().tensor;
  run.target_density = settings.sparsity.density;
  return options;
}

// A server that listens on all addresses says none of them: what the others call this machine.
std::string ReachedAt(const std::string& listening) {
  auto address = contract::ParseAddress("the address of the metrics", listening);
  if (!address.ok()) return {};
  if (address->host == "0.0.0.0" || address->host == "::") {
    const char* const host = std::getenv("FILIGREE_HOST");
    address->host = host != nullptr && *host != '\0' ? host : comm::HostName();
  }
  return contract::AddressText(*address);
}

absl::Status Listen(const config::Settings& settings, const std::string& job, parallel::World& world,
                    ShownMetrics& shown) {
  http::PageServerOptions options;
  options.what = "telemetry.listen";
  auto address = contract::ParseAddress(options.what, settings.telemetry.listen);
  if (!address.ok()) return address.status();
  // The place of this process's first generation: in a later one a rank that has been given up, and only sleeps, still
  // has the port of its own.
  static const int place = PlaceOnHost(world);
  if (address->port > 0) address->port += place;
  if (address->port > 65535)
    return absl::InvalidArgumentError(fmt::format("{}: {} with the number of the rank on its host is no port, {}",
                                                  options.what, settings.telemetry.listen, address->port));
  options.address = contract::AddressText(*address);
  options.open = settings.telemetry.open;
  options.how_to_open = "set telemetry.open = true";
  options.pages["/metrics"] = [metrics = shown.metrics]() -> absl::StatusOr<http::Page> { return metrics->Page(); };
  auto server = http::PageServer::Start(options);
  if (!job.empty() && absl::IsUnavailable(server.status())) {
    address->port = 0;
    options.address = contract::AddressText(*address);
    server = http::PageServer::Start(options);
  }
  if (!server.ok()) return server.status();
  shown.server = *std::move(server);
  shown.address = ReachedAt(shown.server->address());
  return absl::OkStatus();
}

}  // namespace

http::Build BuildOfThisProgram() {
  return {FILIGREE_VERSION, FILIGREE_REVISION, FILIGREE_CUDA_VERSION, FILIGREE_NCCL_VERSION, FILIGREE_MPI_VERSION};
}

absl::StatusOr<ShownMetrics> ShowMetrics(const config::Settings& settings, const std::string& job, bool asked,
                                         bool first_start, parallel::World& world) {
  ShownMetrics shown;
  const bool listens = !settings.telemetry.listen.empty();
  if (listens || asked) {
    shown.metrics = std::make_shared<metrics::RankMetrics>(Describe(settings, job, world));
  }
  // A run that was stored with it goes on: what it opens is looked at where there is something.
  if (settings.telemetry.open && !listens && first_start && world.first())
    Say("note: telemetry.open opens nothing without telemetry.listen=HOST:PORT");
  absl::Status mine = listens ? Listen(settings, job, world, shown) : absl::OkStatus();
  if (!first_start && absl::IsUnavailable(mine)) {  // what has survived a loss does not end for want of a page
    Say("rank {}: {}; going on without it", world.rank(), std::string(mine.message()));
    mine = absl::OkStatus();
  }
  if (absl::Status status = world.Agree(mine); !status.ok()) return status;
  return shown;
}

}  // namespace filigree::cli
