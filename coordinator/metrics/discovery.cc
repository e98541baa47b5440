#include "coordinator/metrics/discovery.h"

#include <nlohmann/json.hpp>

#include "coordinator/metrics/run_series.h"

namespace filigree::coordinator {

std::string DiscoveryText(const Core& core) {
  nlohmann::json groups = nlohmann::json::array();
  for (const std::string& id : core.tables().open_jobs()) {
    const JobRow& row = *core.tables().FindJob(id);
    const JobMemory* memory = MemoryOf(core, row);
    if (memory == nullptr || !row.held) continue;
    for (size_t rank = 0; rank < memory->ranks.size(); ++rank) {
      const RankTelemetry& known = memory->ranks[rank];
      if (!Alive(known.state()) || known.metrics_address().empty()) continue;
      groups.push_back(
          {{"targets", {known.metrics_address()}}, {"labels", {{"run_id", id}, {"rank", std::to_string(rank)}}}});
    }
  }
  return groups.dump();
}

}  // namespace filigree::coordinator
