#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"

namespace filigree::coordinator {
namespace {

bool AllIn(const JobMemory& memory, RankState state) {
  return !memory.ranks.empty() && std::all_of(memory.ranks.begin(), memory.ranks.end(), [&](const RankTelemetry& rank) {
    return rank.heard() && rank.state() == state;
  });
}

// Every rank has at least begun to run: some may have finished already.
bool AllRan(const JobMemory& memory) {
  return !memory.ranks.empty() && std::all_of(memory.ranks.begin(), memory.ranks.end(), [](const RankTelemetry& rank) {
    return rank.heard() && (rank.state() == RankState::kRunning || rank.state() == RankState::kFinished);
  });
}

int64_t FurthestStep(const JobMemory& memory) {
  int64_t step = 0;
  for (const RankTelemetry& rank : memory.ranks) step = std::max(step, rank.last().step);
  return step;
}

// No process of the generation can still hold a valid lease: every worker of it is gone, in that incarnation, or was
// heard to run nothing of it after the generation was told to end.
bool RanksGone(Turn& turn, const JobRow& row) {
  const JobMemory& memory = turn.memory.Of(row);
  return std::all_of(row.ranks.begin(), row.ranks.end(), [&](const RankPlace& place) {
    const WorkerRow* worker = turn.draft.FindWorker(place.worker);
    const bool lives = worker->incarnation == place.incarnation && worker->presence == Presence::kLive;
    return !lives || memory.released.count(place.worker) > 0;
  });
}

void NoteReached(Turn& turn, const std::string& job) {
  const int64_t step = FurthestStep(turn.MemoryOf(job));
  JobRow& row = turn.draft.EditJob(job);
  row.reached_step = std::max(row.reached_step, step);
}

// Whether the generation brought the run further than it was: by a commit, or by a step nobody had reached.
bool HadProgress(Turn& turn, const JobRow& row) {
  const CommitRow* commit = turn.draft.LastCommit(row.id);
  if (commit != nullptr && commit->point.generation == row.generation) return true;
  return FurthestStep(turn.memory.Of(row)) > row.reached_step;
}

void StartRecovery(Turn& turn, const std::string& job, const std::string& reason, const Cause& cause) {
  const bool progress = HadProgress(turn, turn.draft.Job(job));
  NoteReached(turn, job);
  MoveJob(turn, job, JobState::kRecovering, reason);
  JobRow& row = turn.draft.EditJob(job);
  // What a generation that never ran left behind is what the one before it left.
  row.rollback = cause.rollback || (row.rollback && !row.ran);
  if (!cause.counts) return;
  ++row.restarts;
  row.fruitless = progress ? 0 : row.fruitless + 1;
}

void GiveSlotsBack(Turn& turn, const std::string& job) { turn.draft.EditJob(job).held = false; }

// All ranks are gone: what follows.
void EndGeneration(Turn& turn, const std::string& job) {
  const JobRow row = turn.draft.Job(job);
  NoteReached(turn, job);
  GiveSlotsBack(turn, job);
  const CommitRow* commit = turn.draft.LastCommit(job);
  const std::string at =
      commit == nullptr ? "no checkpoint" : fmt::format("last checkpoint: step {}", commit->point.step);
  if (row.state == JobState::kDraining) {
    if (row.intent == Intent::kStop || row.intent == Intent::kCancel)
      MoveJob(turn, job, JobState::kCancelled, fmt::format("{}; {}", row.reason, at));
    else
      MoveJob(turn, job, JobState::kQueued, fmt::format("to be placed again: {}; {}", row.reason, at));
    // What was to be given up is: those who ran since hold what came after.
    if (row.ran) turn.draft.EditJob(job).rollback = false;
    return;
  }
  if (row.spec->restart_limit == contract::kNoRestart)
    MoveJob(turn, job, JobState::kFailed, fmt::format("{}; it is not to be started again; {}", row.reason, at));
  else if (row.fruitless > row.spec->restart_limit)
    MoveJob(turn, job, JobState::kFailed,
            fmt::format("{}; {} faults in a row without progress, restart_limit is {}; {}", row.reason, row.fruitless,
                        row.spec->restart_limit, at));
}

}  // namespace

void Fault(Turn& turn, const std::string& job, const Cause& cause) {
  const std::string reason = OneLine(cause.reason);
  const JobRow row = turn.draft.Job(job);
  const bool on_request = row.state == JobState::kDraining;
  if (row.state != JobState::kPlaced && row.state != JobState::kRunning && !on_request) return;
  if (on_request && row.intent == Intent::kCancel) return;
  Event& event = Say(turn, EventKind::kFault, reason);
  event.job = job;
  event.rank = cause.rank;
  event.generation = row.generation;
  if (cause.rank >= 0) event.worker = row.ranks[cause.rank].worker;
  if (on_request && row.intent == Intent::kStop) {
    // Without this rank there is no checkpoint any more, and nobody wants the job to go on.
    JobRow& edited = turn.draft.EditJob(job);
    edited.intent = Intent::kCancel;
    edited.reason = OneLine(fmt::format("{}; then {}", row.reason, reason));
    return;
  }
  StartRecovery(turn, job, reason, cause);
}

void StartDraining(Turn& turn, const std::string& job, Intent intent, const std::string& reason) {
  MoveJob(turn, job, JobState::kDraining, reason, intent);
}

void MissUnheard(Turn& turn, const std::string& job) {
  const JobRow& row = turn.draft.Job(job);
  if (row.state != JobState::kPlaced && row.state != JobState::kRunning) return;
  const JobMemory& memory = turn.MemoryOf(job);
  for (size_t rank = 0; rank < row.ranks.size(); ++rank) {
    if (memory.ranks[rank].heard()) continue;  // what is lost since was a fault then, or had ended
    const RankPlace& place = row.ranks[rank];
    const WorkerRow* worker = turn.draft.FindWorker(place.worker);
    const bool lives = worker->incarnation == place.incarnation && worker->presence == Presence::kLive;
    if (lives || memory.released.count(place.worker) > 0) continue;
    const auto missed = static_cast<int32_t>(rank);
    const std::string name = RankName(row, missed);
    return Fault(turn, job,
                 {.rank = missed, .reason = fmt::format("{}: its worker is gone, and its end was not heard of", name)});
  }
}

void Progress(Turn& turn, const std::string& job) {
  const JobRow& row = turn.draft.Job(job);
  if (!row.held) return;
  const JobMemory& memory = turn.MemoryOf(job);
  if (row.state == JobState::kPlaced && AllRan(memory)) {
    MoveJob(turn, job, JobState::kRunning, fmt::format("all {} ranks run", row.ranks.size()));
    turn.draft.EditJob(job).ran = true;
  }
  const JobRow& now = turn.draft.Job(job);
  const bool may_finish =
      now.state == JobState::kRunning || (now.state == JobState::kDraining && now.intent != Intent::kCancel);
  if (may_finish && AllIn(memory, RankState::kFinished)) {
    NoteReached(turn, job);
    GiveSlotsBack(turn, job);
    MoveJob(turn, job, JobState::kDone, fmt::format("all {} ranks finished", now.ranks.size()));
    return;
  }
  if ((now.state == JobState::kDraining || now.state == JobState::kRecovering) && RanksGone(turn, now))
    EndGeneration(turn, job);
}

}  // namespace filigree::coordinator
