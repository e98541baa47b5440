#ifndef FILIGREE_WORKER_CLI_METRICS_H_
#define FILIGREE_WORKER_CLI_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/http/page_server.h"
#include "worker/config/settings.h"
#include "worker/metrics/rank_metrics.h"
#include "worker/parallel/world.h"

namespace filigree::cli {

// What this program was built of, as all its processes show it.
http::Build BuildOfThisProgram();

// The metrics of a rank and where they are shown. Without telemetry.listen they are shown nowhere, and null unless
// somebody has `asked` for them.
struct ShownMetrics {
  std::shared_ptr<metrics::RankMetrics> metrics;
  std::unique_ptr<http::PageServer> server;  // ends before what it shows
  std::string address;                       // HOST:PORT at which others reach the server; empty: there is none
};

// Listens where telemetry.listen says; ranks of one host take one port after another, in the order of the ranks of the
// first generation (`first_start`), and keep them. All ranks call it, and all fail where one does. InvalidArgument,
// Unavailable: as PageServer::Start, with the rank. In a later generation a port that is taken is said, no more.
// `job`: the coordinator's, which shows what belongs to the whole run and is told where each rank is, so that a port
// that is taken gives way to any other; empty: there is none, or telemetry.job says it.
absl::StatusOr<ShownMetrics> ShowMetrics(const config::Settings& settings, const std::string& job, bool asked,
                                         bool first_start, parallel::World& world);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_METRICS_H_
