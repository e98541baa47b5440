#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/ids.h"
#include "worker/agent/ending_text.h"
#include "worker/agent/rank_table.h"
#include "worker/agent/tell_check.h"

// What the processes of ranks say, how they end, and what becomes of those that do neither.

namespace filigree::agent {
namespace {

constexpr int kExitStopped = 75;
constexpr int64_t kLongestWaitUs = 60'000'000;
constexpr int64_t kPausedUs = 1'000'000;  // a tick so late means that this process did not run itself

// How mpirun's ending looks from one of its ranks.
Ending EndingOfRank(const Ending& ending, const LaunchersWord& word) {
  Ending own = ending;
  own.code = word.code;
  own.signal = word.signal;
  return own;
}

absl::Status NoPart(const std::string& process, int64_t generation) {
  return absl::FailedPreconditionError(
      fmt::format("process {:.8} has no part in generation {} any more; leave it", process, generation));
}

}  // namespace

const RankTable::Placement* RankTable::PlacementOf(const Process& process) const {
  const auto job = jobs_.find(process.job);
  if (job == jobs_.end() || !job->second.placement || process.generation == 0) return nullptr;
  const Placement& placement = *job->second.placement;
  return placement.generation == process.generation ? &placement : nullptr;
}

RankTable::Placement* RankTable::PlacementOf(const Process& process) {
  return const_cast<Placement*>(static_cast<const RankTable*>(this)->PlacementOf(process));
}

absl::StatusOr<RankTable::Process*> RankTable::Find(const std::string& name) {
  if (absl::Status status = contract::CheckId("process", name); !status.ok()) return status;
  const auto found = processes_.find(name);
  if (found == processes_.end() || found->second.killed)
    return absl::NotFoundError("no process of that name is to run here; end");
  return &found->second;
}

absl::StatusOr<std::optional<v1::TakeReply>> RankTable::Take(int64_t now_us, const v1::TakeRequest& request) {
  const absl::StatusOr<Process*> found = Find(request.process());
  if (!found.ok()) return found.status();
  Process& process = **found;
  if (request.wait_us() < 0 || request.wait_us() > kLongestWaitUs)
    return absl::InvalidArgumentError(fmt::format("wait_us: {} is outside 0..{}", request.wait_us(), kLongestWaitUs));
  const bool was_in = request.after() == 0 || request.after() == process.left || request.after() == process.generation;
  if (!was_in)
    return absl::InvalidArgumentError(
        fmt::format("after: process {:.8} was never in generation {}", request.process(), request.after()));
  const bool inside = process.generation != 0 && process.left != process.generation;
  if (inside && request.after() == process.generation) Leaves(now_us, request.process(), process, request.lost());
  v1::TakeReply reply;
  if (process.over_us >= 0) {
    reply.set_over(true);
    return reply;
  }
  const Placement* placement = PlacementOf(process);
  if (placement == nullptr || process.left == process.generation) return std::nullopt;
  process.taken = true;
  v1::Part& part = *reply.mutable_part();
  part.set_job(process.job);
  part.set_generation(placement->generation);
  part.set_rank(process.part.rank);
  part.set_data(placement->data);
  part.set_tensor(placement->tensor);
  part.set_rollback(placement->rollback);
  if (placement->resume) *part.mutable_resume() = *placement->resume;
  return reply;
}

// A process says that it is in its generation no more.
void RankTable::Leaves(int64_t now_us, const std::string& name, Process& process, const std::string& lost) {
  const Placement* placement = PlacementOf(process);
  if (placement == nullptr) return;
  const bool launched = !process.launcher.empty();
  if (launched ? lost.empty() : !placement->keep && placement->directive == v1::DIRECTIVE_GO_ON) {
    // Its backend starts every generation anew: it is to end, and how it does is what is reported.
    process.reason = lost.empty() ? "left its generation without being asked" : "missed a peer: " + lost;
    return EndIdle(now_us, name, process);
  }
  process.left = process.generation;
  if (!launched && placement->directive != v1::DIRECTIVE_GO_ON) {
    Settle(process, v1::RANK_STATE_STOPPED, "");
    return Idle(now_us, name, process);
  }
  if (lost.empty()) {
    Settle(process, v1::RANK_STATE_FAILED, "left its generation without being asked");
    return Idle(now_us, name, process);
  }
  process.lost = "missed a peer: " + lost.substr(0, kMostReasonBytes);
  process.lost_us = now_us;
  orders_.say.push_back(fmt::format("{}: {}", Text(process.part), process.lost));
}

absl::StatusOr<v1::TellReply> RankTable::Tell(int64_t now_us, const v1::TellRequest& request) {
  const absl::StatusOr<Process*> found = Find(request.process());
  if (!found.ok()) return found.status();
  Process& process = **found;
  if (absl::Status status = CheckTell(request); !status.ok()) return status;
  Placement* const placement = PlacementOf(process);
  const bool inside = placement != nullptr && process.taken && process.left != process.generation;
  if (!inside || request.generation() != process.generation) return NoPart(request.process(), request.generation());
  process.told_us = now_us;
  const bool failed = request.state() == v1::RANK_STATE_FAILED;
  if (failed && process.failed_us < 0) {
    // Reported when the process has ended: until then the rank may still do something.
    process.reason = request.reason().substr(0, kMostReasonBytes);
    process.failed_us = now_us;
  }
  v1::RankReport& report = placement->ranks[process.part.rank].report;
  if (!failed && report.state() != request.state()) orders_.heartbeat = true;
  if (!failed) report.set_state(request.state());
  *report.mutable_progress() = request.progress();
  if (request.has_mask_epoch()) {
    report.set_mask_epoch(request.mask_epoch());
    *report.mutable_mask_digests() = request.mask_digests();
  }
  report.set_metrics_address(request.metrics_address());
  if (request.has_figures() && process.part.rank == 0) *report.mutable_figures() = request.figures();
  v1::TellReply reply;
  reply.set_directive(placement->directive);
  reply.set_keep(placement->keep);
  return reply;
}

absl::StatusOr<std::string> RankTable::JobOf(const std::string& process, int64_t generation) const {
  const auto found = const_cast<RankTable*>(this)->Find(process);
  if (!found.ok()) return found.status();
  const Process& known = **found;
  const bool inside = PlacementOf(known) != nullptr && known.taken && known.left != known.generation;
  if (!inside || known.generation != generation) return NoPart(process, generation);
  return known.job;
}

void RankTable::Idle(int64_t now_us, const std::string& name, Process& process) {
  process.generation = 0;
  process.taken = false;
  process.reason.clear();
  process.lost.clear();
  process.told_us = process.failed_us = process.lost_us = -1;
  process.idle_us = now_us;
  if (!jobs_[process.job].keeps) EndIdle(now_us, name, process);
}

void RankTable::EndIdle(int64_t now_us, const std::string& name, Process& process) {
  if (process.over_us >= 0) return;
  process.over_us = now_us;
  orders_.answer.push_back(name);
}

void RankTable::Kill(const std::string& name, Process& process, const std::string& why) {
  if (process.killed) return;
  const bool launched = !process.launcher.empty();
  orders_.kill.push_back(launched ? process.launcher : name);
  for (const std::string& one : launched ? StartedAs(process.launcher) : std::vector<std::string>{name}) {
    processes_[one].killed = true;  // the others of a launcher for no fault of their own
    orders_.answer.push_back(one);
  }
  process.killed_why = why;
}

void RankTable::Settle(Process& process, v1::RankState state, const std::string& reason) {
  Placement* const placement = PlacementOf(process);
  if (placement == nullptr) return;
  Rank& rank = placement->ranks[process.part.rank];
  if (rank.ended) return;
  rank.ended = true;
  rank.report.set_state(state);
  if (state == v1::RANK_STATE_FAILED) rank.report.set_reason(reason);
  orders_.heartbeat = true;
  const std::string who = Text(process.part);
  if (state == v1::RANK_STATE_FAILED)
    orders_.say.push_back(fmt::format("{}: failed: {}", who, reason));
  else
    orders_.say.push_back(fmt::format("{}: {}", who, state == v1::RANK_STATE_FINISHED ? "finished" : "stopped"));
}

std::pair<v1::RankState, std::string> RankTable::Verdict(const Process& process, const Ending& ending,
                                                         const std::string& how) const {
  const Placement* placement = PlacementOf(process);
  const auto failed = [&](const std::string& what) {
    return std::pair(v1::RANK_STATE_FAILED, ReasonText(fmt::format("host {}: {}", host_, what), ending.tail));
  };
  if (process.killed && process.killed_why.empty()) return {v1::RANK_STATE_STOPPED, ""};
  if (process.killed) return failed(process.killed_why);
  if (process.left == process.generation && !process.lost.empty()) return failed(process.lost);
  if (ending.signal == 0 && ending.code == 0) return {v1::RANK_STATE_FINISHED, ""};
  // One that was told that it is over ends as if it had been asked to.
  const bool failed_before =
      !process.reason.empty() && placement != nullptr && placement->directive == v1::DIRECTIVE_GO_ON;
  if (ending.signal == 0 && ending.code == kExitStopped && !failed_before) return {v1::RANK_STATE_STOPPED, ""};
  if (placement != nullptr && placement->directive == v1::DIRECTIVE_LEAVE) return {v1::RANK_STATE_STOPPED, ""};
  if (process.reason.empty()) return failed(how);
  return failed(fmt::format("{} ({})", process.reason, how));
}

// One of them is why the others were killed, and only that one is said to have failed: one that said so or was killed
// by us for a reason, else the one that mpirun names, else those that missed a peer, else nobody knows.
void RankTable::SettleLaunched(const std::vector<std::string>& names, const Ending& ending) {
  const bool well = ending.code == 0 && ending.signal == 0;
  const std::optional<LaunchersWord> word = well ? std::nullopt : WordOfMpirun(ending.tail);
  const auto is_named = [&](const Process& process) { return word && word->rank == process.part.rank; };
  const auto blame = [&](const Process& process) {
    if (!process.reason.empty() || !process.killed_why.empty()) return 3;
    return is_named(process) ? 2 : process.lost.empty() ? 0 : 1;
  };
  int most = 0;
  for (const std::string& name : names) most = std::max(most, blame(processes_[name]));
  for (const std::string& name : names) {
    Process& process = processes_[name];
    const Ending own = is_named(process) ? EndingOfRank(ending, *word) : ending;
    const std::string how =
        most > 0 ? EndingText(own)
                 : fmt::format("mpirun ended, and does not say because of which rank: {}", EndingText(own));
    const auto [state, reason] = Verdict(process, own, how);
    const bool victim = state == v1::RANK_STATE_FAILED && blame(process) < most;
    Settle(process, victim ? v1::RANK_STATE_STOPPED : state, reason);
  }
}

void RankTable::HasEnded(int64_t now_us, const std::string& name, const Ending& ending) {
  const std::vector<std::string> names = StartedAs(name);
  if (names.empty()) return;
  Process& process = processes_[names.front()];
  const std::string id = process.job;
  if (!process.launcher.empty()) {
    SettleLaunched(names, ending);
  } else {
    const bool idle = process.generation == 0;
    const auto [state, reason] = Verdict(process, ending, EndingText(ending));
    Settle(process, state, reason);
    if (idle && !process.killed && process.over_us < 0)
      orders_.say.push_back(fmt::format("{}: process {:.8} ended while it waited: {}", id, name, EndingText(ending)));
  }
  for (const std::string& one : names) {
    orders_.answer.push_back(one);
    processes_.erase(one);
  }
  StartIfAlone(now_us, id, jobs_[id]);
}

void RankTable::CouldNotStart(int64_t now_us, const std::string& name, const std::string& why) {
  for (const std::string& one : StartedAs(name)) {
    Process& process = processes_[one];
    if (process.killed) continue;
    process.killed = true;
    process.killed_why = why;
  }
  HasEnded(now_us, name, {});
}

std::vector<std::string> RankTable::StartedAs(const std::string& name) const {
  if (processes_.count(name) != 0) return {name};
  std::vector<std::string> names;
  for (auto at = processes_.lower_bound(name + "."); at != processes_.end() && at->second.launcher == name; ++at)
    names.push_back(at->first);
  std::sort(names.begin(), names.end(), [this](const std::string& a, const std::string& b) {
    return processes_.at(a).part.rank < processes_.at(b).part.rank;
  });
  return names;
}

void RankTable::Tick(int64_t now_us) {
  const int64_t gap_us = ticked_us_ < 0 ? 0 : now_us - ticked_us_;
  ticked_us_ = now_us;
  for (auto& [name, process] : processes_) {
    // Nobody could tell us anything while we did not run.
    if (gap_us > kPausedUs && process.told_us >= 0) process.told_us += gap_us;
    if (process.killed) continue;
    if (process.generation == 0 || process.over_us >= 0)
      CheckIdle(now_us, name, process);
    else
      CheckRank(now_us, name, process);
  }
}

void RankTable::CheckIdle(int64_t now_us, const std::string& name, Process& process) {
  const Job& job = jobs_[process.job];
  if (process.over_us >= 0) {
    // In a generation still: its backend keeps no processes, and this one does not end by itself.
    if (now_us - process.over_us > patience_.over_us)
      Kill(name, process, process.generation == 0 ? "" : process.reason);
  } else if (!job.keeps || now_us - std::max(process.idle_us, job.told_us) > patience_.idle_us) {
    EndIdle(now_us, name, process);
  }
}

void RankTable::CheckRank(int64_t now_us, const std::string& name, Process& process) {
  const Placement* placement = PlacementOf(process);
  if (placement == nullptr) return Kill(name, process, "its generation is over");
  if (process.lost_us >= 0) {
    if (now_us - process.lost_us <= patience_.lost_us) return;
    if (!process.launcher.empty()) return Kill(name, process, process.lost);
    Settle(process, v1::RANK_STATE_FAILED, ReasonText(fmt::format("host {}: {}", host_, process.lost), ""));
    return Idle(now_us, name, process);
  }
  const auto seconds = [](int64_t us) { return us / 1'000'000; };
  if (process.failed_us >= 0 && now_us - process.failed_us > patience_.failed_us)
    Kill(name, process, process.reason);
  else if (placement->directive == v1::DIRECTIVE_LEAVE && now_us - placement->directive_us > patience_.leave_us)
    Kill(name, process, "");
  else if (process.told_us >= 0 && now_us - process.told_us > patience_.silence_us)
    Kill(name, process,
         fmt::format("has told nothing for {} s: it hangs, or was stopped (SIGSTOP)", seconds(patience_.silence_us)));
}

}  // namespace filigree::agent
