#include "worker/train/kept_state.h"

#include <algorithm>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "worker/train/ownership.h"
#include "worker/train/replicas.h"

namespace filigree::train {
namespace {

// Where this rank is; empty: it has nothing to go on from.
std::string Place(const OpenedRun* run, const parallel::World& world) {
  if (run == nullptr || run->state == nullptr || run->state->step >= run->settings.run.steps) return {};
  const config::ParallelSettings& parallel = run->settings.parallel;
  const bool owed = parallel.exchange != config::Exchange::kTree || parallel.wire != config::Wire::kFp32;
  if (DividesUpdates(run->settings)) return {};  // what a lost rank owned is lost with it
  if (owed || (world.first() && !run->lock.has_value())) return {};
  return fmt::format("step {} position {}", run->state->step, run->state->position);
}

}  // namespace

absl::StatusOr<bool> HoldSameState(const OpenedRun* run, parallel::World& world) {
  world.all().Name("where each rank is");
  const absl::StatusOr<std::vector<std::string>> places = world.all().AllGatherStrings(Place(run, world));
  if (!places.ok()) return places.status();
  const std::string& first = places->front();
  const bool together =
      std::all_of(places->begin(), places->end(), [&](const std::string& place) { return place == first; });
  if (first.empty() || !together) return false;
  if (world.size() == 1) return true;
  const absl::Status same = Replicas(*run->state, {}, *run->pool, world).Check();
  if (absl::IsDataLoss(same)) return false;
  if (!same.ok()) return same;
  return true;
}

}  // namespace filigree::train
