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
  part.set_rank(process.ranks.front());
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
  if (!placement->keep && placement->directive == v1::DIRECTIVE_GO_ON) {
    // Its backend starts every generation anew: it is to end, and how it does is what is reported.
    process.reason = lost.empty() ? "left its generation without being asked" : "missed a peer: " + lost;
    return EndIdle(now_us, name, process);
  }
  process.left = process.generation;
  if (placement->directive != v1::DIRECTIVE_GO_ON) {
    Settle(process, v1::RANK_STATE_STOPPED, "");
    return Idle(now_us, name, process);
  }
  if (lost.empty()) {
    Settle(process, v1::RANK_STATE_FAILED, "left its generation without being asked");
    return Idle(now_us, name, process);
  }
  process.lost = "missed a peer: " + lost.substr(0, kMostReasonBytes);
  process.lost_us = now_us;
  orders_.say.push_back(fmt::format("{}: {}", Text(process.last.front()), process.lost));
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
  for (const int32_t number : process.ranks) {
    v1::RankReport& report = placement->ranks[number].report;
    if (!failed && report.state() != request.state()) orders_.heartbeat = true;
    if (!failed) report.set_state(request.state());
    *report.mutable_progress() = request.progress();
    if (request.has_mask_epoch()) report.set_mask_epoch(request.mask_epoch());
    *report.mutable_mask_digests() = request.mask_digests();
    report.set_metrics_address(request.metrics_address());
    if (request.has_figures() && number == 0) *report.mutable_figures() = request.figures();
  }
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
  process.ranks.clear();
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
  process.killed = true;
  process.killed_why = why;
  orders_.kill.push_back(name);
  orders_.answer.push_back(name);
}

void RankTable::Settle(Process& process, v1::RankState state, const std::string& reason) {
  Placement* const placement = PlacementOf(process);
  if (placement == nullptr) return;
  bool any = false;
  for (const int32_t number : process.ranks) {
    Rank& rank = placement->ranks[number];
    if (rank.ended) continue;
    any = rank.ended = true;
    rank.report.set_state(state);
    if (state == v1::RANK_STATE_FAILED) rank.report.set_reason(reason);
  }
  if (!any) return;
  orders_.heartbeat = true;
  const std::string who = Text(process.last.front());
  if (state == v1::RANK_STATE_FAILED)
    orders_.say.push_back(fmt::format("{}: failed: {}", who, reason));
  else
    orders_.say.push_back(fmt::format("{}: {}", who, state == v1::RANK_STATE_FINISHED ? "finished" : "stopped"));
}

std::pair<v1::RankState, std::string> RankTable::Verdict(const Process& process, const Ending& ending) const {
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
  if (process.reason.empty()) return failed(EndingText(ending));
  return failed(fmt::format("{} ({})", process.reason, EndingText(ending)));
}

void RankTable::HasEnded(int64_t now_us, const std::string& name, const Ending& ending) {
  const auto found = processes_.find(name);
  if (found == processes_.end()) return;
  Process& process = found->second;
  const auto [state, reason] = Verdict(process, ending);
  const bool idle = process.generation == 0;
  Settle(process, state, reason);
  if (idle && !process.killed && process.over_us < 0)
    orders_.say.push_back(
        fmt::format("{}: process {:.8} ended while it waited: {}", process.job, name, EndingText(ending)));
  const std::string id = process.job;
  orders_.answer.push_back(name);
  processes_.erase(found);
  StartIfAlone(now_us, id, jobs_[id]);
}

void RankTable::CouldNotStart(int64_t now_us, const std::string& name, const std::string& why) {
  const auto found = processes_.find(name);
  if (found == processes_.end()) return;
  if (!found->second.killed) {
    found->second.killed = true;
    found->second.killed_why = why;
  }
  HasEnded(now_us, name, {});
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
