#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "coordinator/core/hosts.h"
#include "coordinator/core/parts.h"

// The queue. Jobs that have run before come first, then by priority, then in the order of submission. A job is placed
// on the largest grid that fits its bounds, after a short wait for workers that are just coming. Nobody overtakes a job
// that the workers there could hold if they were idle, so every such job is reached when those ahead of it end: among
// jobs of equal priority nobody starves; a higher priority may be served for ever. Jobs that the workers could not hold
// are passed over until they could.

namespace filigree::coordinator {
namespace {

bool Waits(const JobRow& row) {
  return !row.held &&
         (row.state == JobState::kSubmitted || row.state == JobState::kQueued || row.state == JobState::kRecovering);
}

// Smaller comes first.
std::tuple<bool, int32_t, int64_t> Turnstile(const JobRow& row) {
  return {row.generation == 0, -row.spec->priority, row.number};
}

std::vector<std::string> Waiting(const Turn& turn) {
  std::vector<std::string> jobs;
  for (const std::string& job : turn.draft.OpenJobs())
    if (Waits(turn.draft.Job(job))) jobs.push_back(job);
  std::sort(jobs.begin(), jobs.end(), [&](const std::string& a, const std::string& b) {
    return Turnstile(turn.draft.Job(a)) < Turnstile(turn.draft.Job(b));
  });
  return jobs;
}

Spread SpreadOf(const contract::JobSpec& spec) {
  return contract::OnOneWorker(spec.backend) ? Spread::kOneWorker : Spread::kHosts;
}

int32_t GroupsFor(const contract::JobSpec& spec, const Rooms& rooms) {
  return GroupsThatFit(rooms, spec.tensor, spec.data, SpreadOf(spec));
}

std::string Wanted(const contract::JobSpec& spec) {
  const bool together = contract::OnOneWorker(spec.backend);
  return fmt::format(
      "{} group{} of {} rank{} {}", spec.min_data, spec.min_data == 1 ? "" : "s", spec.tensor,
      spec.tensor == 1 ? "" : "s",
      together ? fmt::format("on one worker (backend {})", contract::Name(spec.backend)) : "on one host");
}

// Workers come one by one, at first and after a loss: the first to speak is not to get a job that fits better on all of
// them. Whoever is known and silent speaks or is lost within a lease; from the first room for it on no job waits longer
// than that for others, whoever registers meanwhile.
bool WaitsForMore(Turn& turn, const std::string& job, int32_t data, const Rooms& coming) {
  const contract::JobSpec& spec = *turn.draft.Job(job).spec;
  int64_t& since_us = turn.MemoryOf(job).room_since_us;
  if (data < spec.min_data) {
    since_us = -1;
    return true;
  }
  if (since_us < 0) since_us = turn.now.monotonic_us;
  if (data >= GroupsFor(spec, coming)) return false;
  return turn.now.monotonic_us - since_us < turn.options.lease_us;
}

void Place(Turn& turn, const std::string& job, int32_t data, Cluster& cluster) {
  JobRow& row = turn.draft.EditJob(job);
  const int32_t tensor = row.spec->tensor;
  const std::vector<RankPlace> places = PlaceRanks(cluster.free, data, tensor, row.ranks, SpreadOf(*row.spec));
  ++row.generation;
  row.data = data;
  row.ranks = places;
  row.held = true;
  row.ran = false;
  turn.MemoryOf(job).room_since_us = -1;
  const CommitRow* commit = turn.draft.LastCommit(job);
  row.resume = commit == nullptr ? std::nullopt : std::optional(commit->point);
  if (row.started_us == 0) row.started_us = turn.now.wall_us;
  Take(cluster.free, places);
  Take(cluster.coming, places);
  MoveJob(turn, job, JobState::kPlaced,
          fmt::format("generation {} on {} x {} ranks, {}", row.generation, data, tensor,
                      row.resume ? fmt::format("from step {}", row.resume->step) : "from the beginning"));
}

// Lets one running job that was placed on a smaller grid than it asked for make room for a larger one.
void GrowOne(Turn& turn, const Cluster& cluster) {
  for (const std::string& job : turn.draft.OpenJobs()) {
    const JobRow& row = turn.draft.Job(job);
    if (row.state != JobState::kRunning || row.data >= row.spec->data) continue;
    const JobMemory& memory = turn.MemoryOf(job);
    const bool timed = memory.state == JobState::kRunning && memory.state_generation == row.generation;
    if (!timed || turn.now.monotonic_us - memory.since_us < turn.options.grow_after_us) continue;
    Rooms rooms = cluster.free;
    Release(rooms, row.ranks);
    const int32_t data = GroupsFor(*row.spec, rooms);
    if (data <= row.data) continue;
    StartDraining(turn, job, Intent::kGrow, fmt::format("from {} to {} replicas", row.data, data));
    return;
  }
}

bool MayGrow(const Turn& turn) {
  for (const std::string& job : turn.draft.OpenJobs()) {
    const JobRow& row = turn.draft.Job(job);
    if (row.state == JobState::kRunning && row.data < row.spec->data) return true;
  }
  return false;
}

}  // namespace

void Schedule(Turn& turn) {
  const std::vector<std::string> waiting = Waiting(turn);
  if (waiting.empty() && !MayGrow(turn)) return;
  Cluster cluster = SlotsOf(turn);
  bool blocked = false;
  for (const std::string& job : waiting) {
    const contract::JobSpec& spec = *turn.draft.Job(job).spec;
    const JobState state = turn.draft.Job(job).state;
    if (GroupsFor(spec, cluster.idle) < spec.min_data) {
      turn.MemoryOf(job).room_since_us = -1;
      if (state == JobState::kQueued)
        MoveJob(turn, job, JobState::kSubmitted, fmt::format("the workers there cannot hold {}", Wanted(spec)));
      continue;
    }
    if (state == JobState::kSubmitted) MoveJob(turn, job, JobState::kQueued, fmt::format("waits for {}", Wanted(spec)));
    const int32_t data = blocked ? 0 : GroupsFor(spec, cluster.free);
    if (WaitsForMore(turn, job, data, cluster.coming))
      blocked = true;
    else
      Place(turn, job, data, cluster);
  }
  if (!blocked) GrowOne(turn, cluster);
}

}  // namespace filigree::coordinator
