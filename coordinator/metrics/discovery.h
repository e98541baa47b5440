#ifndef FILIGREE_COORDINATOR_METRICS_DISCOVERY_H_
#define FILIGREE_COORDINATOR_METRICS_DISCOVERY_H_

#include <string>

#include "coordinator/core/core.h"

namespace filigree::coordinator {

// JSON for http_sd_configs: a list of {"targets": ["HOST:PORT"], "labels": {"run_id", "rank"}}, by job and rank. Ranks
// that have ended, or say no address, are left out.
std::string DiscoveryText(const Core& core);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_METRICS_DISCOVERY_H_
