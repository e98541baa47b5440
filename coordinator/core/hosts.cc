#include "coordinator/core/hosts.h"

#include <map>
#include <utility>

namespace filigree::coordinator {
namespace {

// Adds `sign` slots for every rank; ranks of incarnations that do not count are passed over.
void Add(Rooms& rooms, const std::vector<RankPlace>& ranks, int32_t sign) {
  if (ranks.empty()) return;
  std::map<std::pair<std::string, int64_t>, int32_t> counts;
  for (const RankPlace& place : ranks) ++counts[{place.worker, place.incarnation}];
  for (auto& [host, workers] : rooms)
    for (WorkerRoom& room : workers) {
      const auto found = counts.find({room.worker, room.incarnation});
      if (found != counts.end()) room.slots += sign * found->second;
    }
}

}  // namespace

void Release(Rooms& rooms, const std::vector<RankPlace>& ranks) { Add(rooms, ranks, 1); }
void Take(Rooms& rooms, const std::vector<RankPlace>& ranks) { Add(rooms, ranks, -1); }

Cluster SlotsOf(const Turn& turn) {
  Cluster cluster;
  for (const auto& [name, stands] : turn.draft.tables().workers()) {
    const WorkerRow& row = *turn.draft.FindWorker(name);
    const Lease* lease = turn.memory.leases.Find(name);
    const bool heard = lease != nullptr && lease->last_sequence > 0 && row.incarnation == stands.incarnation;
    if (row.presence != Presence::kLive || row.draining) continue;
    cluster.coming[row.host].push_back({name, row.incarnation, row.slots});
    if (heard) cluster.idle[row.host].push_back({name, row.incarnation, row.slots});
  }
  cluster.free = cluster.idle;
  std::vector<RankPlace> taken;
  for (const std::string& job : turn.draft.OpenJobs()) {
    const JobRow& row = turn.draft.Job(job);
    if (row.held) taken.insert(taken.end(), row.ranks.begin(), row.ranks.end());
  }
  Take(cluster.free, taken);
  Take(cluster.coming, taken);
  return cluster;
}

}  // namespace filigree::coordinator
