#include "coordinator/core/turn.h"

#include <fmt/format.h>

#include "kernels/base/check.h"

namespace filigree::coordinator {

const char* Name(EventKind kind) {
  constexpr const char* kNames[] = {"job_moved",       "committed",    "fault",        "straggler",
                                    "caught_up",       "masks_agreed", "masks_differ", "worker_joined",
                                    "worker_draining", "worker_lost",  "worker_left"};
  return kNames[static_cast<int>(kind)];
}

Event& Say(Turn& turn, EventKind kind, const std::string& text) {
  Event event;
  event.kind = kind;
  event.wall_us = turn.now.wall_us;
  event.text = text;
  turn.events.push_back(event);
  return turn.events.back();
}

void MoveJob(Turn& turn, const std::string& job, JobState to, const std::string& reason, Intent intent) {
  JobRow& row = turn.draft.EditJob(job);
  CHECK(CanMove(row.state, to), "job {} from {} to {}: {}", job, Name(row.state), Name(to), reason);
  Event& event = Say(turn, EventKind::kJobMoved, reason);
  event.job = job;
  event.generation = row.generation;
  event.from = row.state;
  event.to = to;
  row.state = to;
  row.intent = to == JobState::kDraining ? intent : Intent::kNone;
  row.reason = reason;
  if (Ended(to)) row.ended_us = turn.now.wall_us;
}

std::string OneLine(const std::string& text) {
  // What happened stands first, the last lines that a rank printed stand last.
  constexpr size_t kFirst = 250, kLast = 245;
  std::string line = text;
  if (text.size() > kFirst + kLast) line = text.substr(0, kFirst) + " ... " + text.substr(text.size() - kLast);
  for (char& c : line)
    if (c < ' ' || c > '~') c = c == '\n' || c == '\t' ? ' ' : '?';
  return line;
}

std::string RankName(const JobRow& row, int32_t rank) {
  return fmt::format("rank {} on worker {}", rank, row.ranks[rank].worker);
}

}  // namespace filigree::coordinator
