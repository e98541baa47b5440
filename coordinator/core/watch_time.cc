#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"
#include "coordinator/core/stragglers.h"

namespace filigree::coordinator {
namespace {

constexpr int64_t kSecond = 1'000'000;

// The first rank that has not begun to run: it is the one to look at.
int32_t FirstMissing(const JobMemory& memory) {
  for (size_t rank = 0; rank < memory.ranks.size(); ++rank)
    if (!memory.ranks[rank].heard() || memory.ranks[rank].state() == RankState::kStarting)
      return static_cast<int32_t>(rank);
  return 0;
}

void WatchStart(Turn& turn, const JobRow& row) {
  const int32_t rank = FirstMissing(turn.memory.Of(row));
  Fault(turn, row.id,
        {.rank = rank,
         .reason = fmt::format("{} does not run {} s after it was placed (deadlines.start)", RankName(row, rank),
                               row.spec->deadlines.start)});
}

void WatchDrain(Turn& turn, const JobRow& row) {
  // Nobody failed: a run whose checkpoints take longer than that is not to be given up for it.
  Fault(
      turn, row.id,
      {.reason = fmt::format("no checkpoint {} s after it was asked for (deadlines.drain)", row.spec->deadlines.drain),
       .counts = false});
}

void WatchDeadlines(Turn& turn, const std::string& job) {
  const JobRow row = turn.draft.Job(job);
  const int64_t since_us = InStateFor(turn, row);
  const contract::Deadlines& deadlines = row.spec->deadlines;
  const auto over = [&](int64_t seconds) { return seconds > 0 && since_us >= seconds * kSecond; };
  const bool first_wait = row.generation == 0 && (row.state == JobState::kSubmitted || row.state == JobState::kQueued);
  if (first_wait && over(deadlines.queue))
    MoveJob(turn, job, JobState::kFailed, fmt::format("not placed within {} s (deadlines.queue)", deadlines.queue));
  if (row.state == JobState::kPlaced && over(deadlines.start)) WatchStart(turn, row);
  if (row.state == JobState::kDraining && row.intent != Intent::kCancel && over(deadlines.drain)) WatchDrain(turn, row);
}

void SayStraggler(Turn& turn, const JobRow& row, EventKind kind, int32_t rank, const std::string& text) {
  Event& event = Say(turn, kind, text);
  event.job = row.id;
  event.rank = rank;
  event.worker = row.ranks[rank].worker;
  event.generation = row.generation;
}

void WatchStragglers(Turn& turn, const JobRow& row) {
  JobMemory& memory = turn.memory.Of(row);
  if (row.state != JobState::kRunning || turn.now.monotonic_us - memory.compared_us < turn.options.straggler_check_us)
    return;
  memory.compared_us = turn.now.monotonic_us;
  std::set<int32_t> slow;
  for (const Straggler& found : FindStragglers(memory.ranks, memory.stragglers, turn.options)) {
    slow.insert(found.rank);
    if (memory.stragglers.count(found.rank) > 0) continue;
    SayStraggler(
        turn, row, EventKind::kStraggler, found.rank,
        fmt::format("{} works {:.2f} times as long as the median, mostly in {}: {:.3g} ms a step against {:.3g} ms",
                    RankName(row, found.rank), found.ratio, Name(found.phase), found.seconds * 1e3,
                    found.median_seconds * 1e3));
  }
  for (const int32_t rank : memory.stragglers)
    if (slow.count(rank) == 0)
      SayStraggler(turn, row, EventKind::kStragglerCaughtUp, rank, RankName(row, rank) + " keeps up again");
  memory.stragglers = slow;
}

}  // namespace

int64_t InStateFor(Turn& turn, const JobRow& row) {
  JobMemory& memory = turn.memory.Of(row);
  const JobState state = row.state == JobState::kSubmitted ? JobState::kQueued : row.state;
  if (memory.state != state || memory.state_generation != row.generation) {
    memory.state = state;
    memory.state_generation = row.generation;
    memory.since_us = turn.now.monotonic_us;
  }
  return turn.now.monotonic_us - memory.since_us;
}

void WatchTime(Turn& turn) {
  for (const std::string& job : turn.draft.OpenJobs()) {
    WatchDeadlines(turn, job);
    MissUnheard(turn, job);
    Progress(turn, job);
    if (!Ended(turn.draft.Job(job).state)) WatchStragglers(turn, turn.draft.Job(job));
  }
}

}  // namespace filigree::coordinator
