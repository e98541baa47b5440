#include "worker/cli/metrics.h"

#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "proto/contract/address.h"
#include "worker/cli/revision.h"
#include "worker/config/load.h"
#include "worker/data/sha256.h"

namespace filigree::cli {
namespace {

// How many ranks below this one are on its host.
int PlaceOnHost(parallel::World& world) {
  int place = 0;
  for (int r = 0; r < world.rank(); ++r) place += world.all().host(r) == world.all().host(world.rank()) ? 1 : 0;
  return place;
}

metrics::RankOptions Describe(const config::Settings& settings, const parallel::World& world) {
  const bool alone = settings.telemetry.job.empty();
  metrics::RankOptions options;
  options.build = BuildOfThisProgram();
  options.run_id = alone ? settings.run.name : settings.telemetry.job;
  options.rank = world.rank();
  if (!alone || !world.first()) return options;
  metrics::RunInfo& run = options.run.emplace();
  run.run_name = settings.run.name;
  run.config_sha256 = data::Sha256Hex(config::ToToml(settings));
  run.dp = world.grid().data;
  run.tp = world.grid().tensor;
  run.target_density = settings.sparsity.density;
  return options;
}

absl::Status Listen(const config::Settings& settings, parallel::World& world, ShownMetrics& shown) {
  http::PageServerOptions options;
  options.what = "telemetry.listen";
  auto address = contract::ParseAddress(options.what, settings.telemetry.listen);
  if (!address.ok()) return address.status();
  if (address->port > 0) address->port += PlaceOnHost(world);
  if (address->port > 65535)
    return absl::InvalidArgumentError(fmt::format("{}: {} with the number of the rank on its host is no port, {}",
                                                  options.what, settings.telemetry.listen, address->port));
  options.address = contract::AddressText(*address);
  options.open = settings.telemetry.open;
  options.how_to_open = "set telemetry.open = true";
  shown.metrics = std::make_unique<metrics::RankMetrics>(Describe(settings, world));
  options.pages["/metrics"] = [metrics = shown.metrics.get()]() -> absl::StatusOr<http::Page> {
    return metrics->Page();
  };
  auto server = http::PageServer::Start(std::move(options));
  if (!server.ok()) return server.status();
  shown.server = *std::move(server);
  return absl::OkStatus();
}

}  // namespace

http::Build BuildOfThisProgram() {
  return {FILIGREE_VERSION, FILIGREE_REVISION, FILIGREE_CUDA_VERSION, FILIGREE_NCCL_VERSION, FILIGREE_MPI_VERSION};
}

absl::StatusOr<ShownMetrics> ShowMetrics(const config::Settings& settings, parallel::World& world) {
  ShownMetrics shown;
  const absl::Status mine = settings.telemetry.listen.empty() ? absl::OkStatus() : Listen(settings, world, shown);
  if (absl::Status status = world.Agree(mine); !status.ok()) return status;
  return shown;
}

}  // namespace filigree::cli
