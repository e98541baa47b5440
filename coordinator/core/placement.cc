#include "coordinator/core/placement.h"

#include <algorithm>
#include <set>

#include "kernels/base/check.h"

namespace filigree::coordinator {
namespace {

struct Candidate {
  std::string host;
  int64_t slots = 0;
  int64_t groups = 0;   // that fit there, however few are wanted
  bool before = false;  // the job had ranks there
};

int64_t Slots(const std::vector<WorkerRoom>& workers) {
  int64_t slots = 0;
  for (const WorkerRoom& room : workers) slots += room.slots;
  return slots;
}

// Whether `a` is to be taken rather than `b` when `missing` groups have no host yet.
bool Better(const Candidate& a, const Candidate& b, int32_t missing) {
  if (a.before != b.before) return a.before;
  const bool a_all = a.groups >= missing, b_all = b.groups >= missing;
  if (a_all != b_all) return a_all;
  if (a_all && a.slots != b.slots) return a.slots < b.slots;
  if (!a_all && a.groups != b.groups) return a.groups > b.groups;
  return a.host < b.host;
}

// Appends the places of `count` ranks on the workers of one host, in the order of their names.
void Fill(const std::vector<WorkerRoom>& workers, int32_t count, std::vector<RankPlace>& places) {
  for (const WorkerRoom& room : workers)
    for (int32_t slot = 0; slot < room.slots && count > 0; ++slot, --count)
      places.push_back({room.worker, room.incarnation});
  CHECK(count == 0, "a host has fewer slots than were counted");
}

// Every worker as a host of its own.
Rooms ByWorker(const Rooms& rooms) {
  Rooms alone;
  for (const auto& [host, workers] : rooms)
    for (const WorkerRoom& room : workers) alone[room.worker] = {room};
  return alone;
}

}  // namespace

int32_t GroupsThatFit(const Rooms& rooms, int32_t tensor, int32_t most, Spread spread) {
  int64_t groups = 0;
  for (const auto& [host, workers] : rooms) {
    if (spread == Spread::kHosts) groups += Slots(workers) / tensor;
    if (spread == Spread::kOneWorker)
      for (const WorkerRoom& room : workers) groups = std::max<int64_t>(groups, room.slots / tensor);
  }
  return static_cast<int32_t>(std::min<int64_t>(groups, most));
}

std::vector<RankPlace> PlaceRanks(const Rooms& all, int32_t data, int32_t tensor, const std::vector<RankPlace>& before,
                                  Spread spread) {
  const Rooms rooms = spread == Spread::kOneWorker ? ByWorker(all) : all;
  const int64_t fewest = spread == Spread::kOneWorker ? data : 1;  // groups, for a host to be of use
  std::set<std::string> workers_before;
  for (const RankPlace& place : before) workers_before.insert(place.worker);
  std::vector<Candidate> candidates;
  for (const auto& [host, workers] : rooms) {
    const auto was_there = [&](const WorkerRoom& room) { return workers_before.count(room.worker) > 0; };
    const int64_t slots = Slots(workers), groups = slots / tensor;
    if (groups >= fewest)
      candidates.push_back({host, slots, groups, std::any_of(workers.begin(), workers.end(), was_there)});
  }
  std::vector<RankPlace> places;
  places.reserve(static_cast<size_t>(data) * tensor);
  for (int32_t missing = data; missing > 0;) {
    CHECK(!candidates.empty(), "{} groups of {} do not fit", missing, tensor);
    const auto best = std::min_element(candidates.begin(), candidates.end(),
                                       [&](const Candidate& a, const Candidate& b) { return Better(a, b, missing); });
    const auto taken = static_cast<int32_t>(std::min<int64_t>(best->groups, missing));
    Fill(rooms.at(best->host), taken * tensor, places);
    missing -= taken;
    candidates.erase(best);
  }
  return places;
}

}  // namespace filigree::coordinator
