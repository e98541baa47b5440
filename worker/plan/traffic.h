#ifndef FILIGREE_WORKER_PLAN_TRAFFIC_H_
#define FILIGREE_WORKER_PLAN_TRAFFIC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/comm/traffic.h"
#include "worker/config/settings.h"
#include "worker/exchange/traffic.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"

// What one rank sends and receives in a step, by what it is for: the calls of a step in their order, each with the
// formula that stands beside the exchange (worker/exchange/traffic.h, worker/model/shared_traffic.h).
//
// At step `s`: later ones move less where densities fall; candidate sets are taken as they are at the first. Exact,
// byte by byte as traffic is counted, where the accuracy of a part says so, but for one case: where ranks share
// matrices on candidates, which rank holds how many of these depends on the weights drawn; then each is taken to have
// its even share, and only the sums over a tensor group are exact.

namespace filigree::plan {

struct TrafficPart {
  std::string name;
  comm::Traffic traffic;  // each time
  int64_t every = 1;      // steps
  exchange::Accuracy accuracy = exchange::Accuracy::kExact;
};

// Empty for a rank alone.
std::vector<TrafficPart> TrafficOfRank(const model::ModelSpec& spec, const config::Settings& settings,
                                       const parallel::Grid& grid, int rank, int64_t s = 0);

// What a step's wire_bytes will be (docs/formats/run-folder.md): one at whose end the candidates change, or any other.
comm::Traffic TrafficOfStep(const std::vector<TrafficPart>& parts, bool refresh);

// What an fp32 all-reduce of the dense gradient would send.
int64_t DenseEquivalent(const model::ModelSpec& spec, const parallel::Grid& grid);

}  // namespace filigree::plan

#endif  // FILIGREE_WORKER_PLAN_TRAFFIC_H_
