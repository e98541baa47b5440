#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "coordinator/core/parts.h"
#include "proto/contract/address.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr int64_t kMaxStep = int64_t{1} << 53;
constexpr size_t kMaxReasonBytes = 8192;
constexpr size_t kMaxReports = 16384;

// Ranks that this heartbeat tells of, by job and rank; of the generation that is held, on this worker.
using Told = std::map<std::string, std::map<int32_t, const RankReport*>>;

absl::Status CheckFigures(const RunFigures& figures) {
  if (figures.matrices.size() > kMaxMatrices)
    return absl::InvalidArgumentError(
        fmt::format("figures of {} matrices, at most {} are taken", figures.matrices.size(), kMaxMatrices));
  if (!figures.config_sha256.empty())
    if (absl::Status status = contract::CheckDigest("config_sha256", figures.config_sha256); !status.ok())
      return status;
  for (const MatrixFigures& matrix : figures.matrices)
    if (absl::Status status = contract::CheckId("name of a matrix", matrix.matrix); !status.ok()) return status;
  return absl::OkStatus();
}

// What ends up on pages that others read: an address that is one, names that are short.
absl::Status CheckShown(const RankReport& report) {
  if (!report.metrics_address.empty()) {
    const auto address = contract::ParseAddress("metrics_address of a rank", report.metrics_address);
    if (!address.ok()) return address.status();
    if (address->port == 0) return absl::InvalidArgumentError("metrics_address of a rank: port 0 is none");
  }
  return report.figures == nullptr ? absl::OkStatus() : CheckFigures(*report.figures);
}

absl::Status CheckReport(const RankReport& report) {
  if (absl::Status status = contract::CheckId("job of a rank report", report.job); !status.ok()) return status;
  const auto sound = [](double seconds) { return std::isfinite(seconds) && seconds >= 0; };
  if (report.rank < 0 || report.generation < 1 || report.progress.step < 0 || report.progress.step > kMaxStep)
    return absl::InvalidArgumentError(
        fmt::format("report of rank {} of job {}: rank, generation {} or step {} is out of range", report.rank,
                    report.job, report.generation, report.progress.step));
  if (!std::all_of(report.progress.seconds.begin(), report.progress.seconds.end(), sound))
    return absl::InvalidArgumentError(fmt::format(
        "report of rank {} of job {}: seconds of phases must be finite and not below 0", report.rank, report.job));
  if (report.reason.size() > kMaxReasonBytes)
    return absl::InvalidArgumentError(
        fmt::format("report of rank {} of job {}: its reason has {} bytes, at most {} are taken", report.rank,
                    report.job, report.reason.size(), kMaxReasonBytes));
  if (absl::Status status = CheckShown(report); !status.ok()) return status;
  return CheckDigests(report.mask_digests);
}

absl::Status CheckReports(const HeartbeatRequest& request) {
  if (request.ranks.size() > kMaxReports)
    return absl::InvalidArgumentError(fmt::format(
        "heartbeat of worker {}: {} rank reports, at most {} are taken; drop those of generations that are no "
        "longer assigned",
        request.speaker.worker, request.ranks.size(), kMaxReports));
  for (const RankReport& report : request.ranks)
    if (absl::Status status = CheckReport(report); !status.ok()) return status;
  return absl::OkStatus();
}

Told TakeReports(Turn& turn, const HeartbeatRequest& request) {
  const RankPlace here = {request.speaker.worker, request.speaker.incarnation};
  Told told;
  for (const RankReport& report : request.ranks) {
    const JobRow* row = turn.draft.FindJob(report.job);
    if (row == nullptr || !row->held || row->generation != report.generation) continue;
    if (report.rank >= static_cast<int32_t>(row->ranks.size()) || !(row->ranks[report.rank] == here)) continue;
    told[report.job][report.rank] = &report;
  }
  return told;
}

// The job's ranks that are placed on that incarnation, ascending.
std::vector<int32_t> RanksHere(const JobRow& row, const JobMemory& memory, const RankPlace& here) {
  std::vector<int32_t> ranks;
  const auto found = memory.ranks_of.find(here.worker);
  if (found == memory.ranks_of.end()) return ranks;
  for (const int32_t rank : found->second)
    if (row.ranks[rank] == here) ranks.push_back(rank);
  return ranks;
}

// Takes what is told of the ranks of one job here; the fault among them, rank -1 where there is none. Of several it is
// the first that failed, else vanished: who only stopped may have done so because of that one.
std::pair<int32_t, std::string> TakeTold(Turn& turn, const JobRow& row, const RankPlace& here,
                                         const std::map<int32_t, const RankReport*>& told) {
  JobMemory& memory = turn.memory.Of(row);
  std::pair<int32_t, std::string> failed = {-1, ""}, vanished = failed, stopped = failed;
  const auto note = [&](std::pair<int32_t, std::string>& noted, int32_t rank, const std::string& what) {
    if (noted.first < 0) noted = {rank, fmt::format("{} {}", RankName(row, rank), what)};
  };
  for (const int32_t rank : RanksHere(row, memory, here)) {
    RankTelemetry& known = memory.ranks[rank];
    const auto found = told.find(rank);
    if (found == told.end()) {
      if (known.heard() && Alive(known.state())) note(vanished, rank, "vanished: the worker no longer tells of it");
      continue;
    }
    const RankReport& report = *found->second;
    known.Take(report.state, report.reason, report.progress, turn.options.straggler_steps);
    known.Show(report.metrics_address, rank == 0 ? report.figures : nullptr);
    if (report.state == RankState::kFailed) note(failed, rank, "failed: " + report.reason);
    if (report.state == RankState::kStopped) note(stopped, rank, "stopped without being asked");
  }
  return failed.first >= 0 ? failed : vanished.first >= 0 ? vanished : stopped;
}

void HearOfJob(Turn& turn, const std::string& job, const RankPlace& here,
               const std::map<int32_t, const RankReport*>& told) {
  const auto [faulty, reason] = TakeTold(turn, turn.draft.Job(job), here, told);
  // A generation that is being ended has nothing to agree on any more.
  for (const auto& [rank, report] : told)
    if (report->mask_epoch >= 0 && turn.draft.Job(job).state != JobState::kRecovering)
      HearMasks(turn, job, rank, report->mask_epoch, {}, report->mask_digests);
  const JobState state = turn.draft.Job(job).state;
  const bool asked_to_end = state == JobState::kDraining || state == JobState::kRecovering;
  const bool failed = faulty >= 0 && turn.MemoryOf(job).ranks[faulty].state() == RankState::kFailed;
  // A rank that ends when it was asked to is no fault; one that fails on the way is.
  if (faulty >= 0 && (!asked_to_end || failed)) Fault(turn, job, {.rank = faulty, .reason = reason});
  const JobState then = turn.draft.Job(job).state;
  const bool alive = std::any_of(told.begin(), told.end(), [](const auto& item) { return Alive(item.second->state); });
  // Only what is sent after the generation was told to end frees the worker: an earlier heartbeat may have crossed an
  // answer that starts ranks. This one was sent before its own answer, and the worker takes no earlier answer any more.
  if ((then == JobState::kDraining || then == JobState::kRecovering) && !alive)
    turn.MemoryOf(job).released.insert(here.worker);
  Progress(turn, job);
}

Assignment AssignmentOf(const JobRow& row, std::vector<int32_t> ranks, bool known) {
  Assignment assignment;
  assignment.job = row.id;
  assignment.generation = row.generation;
  const bool ends = row.intent == Intent::kStop || row.intent == Intent::kCancel;
  assignment.keep_processes = KeepsProcesses(row.spec->backend) && !ends;
  if (row.state == JobState::kDraining)
    assignment.action = row.intent == Intent::kCancel || !row.ran ? Action::kStop : Action::kCheckpointAndStop;
  if (row.state == JobState::kRecovering) assignment.action = Action::kStop;
  if (assignment.action != Action::kRun) return assignment;
  assignment.ranks = std::move(ranks);
  assignment.data = row.data;
  assignment.tensor = row.spec->tensor;
  assignment.rollback = row.rollback;
  assignment.resume = row.resume;
  if (!known) assignment.spec = row.spec;
  return assignment;
}

}  // namespace

absl::StatusOr<HeartbeatReply> Heartbeat(Turn& turn, const HeartbeatRequest& request) {
  const std::string& worker = request.speaker.worker;
  const RankPlace here = {worker, request.speaker.incarnation};
  if (absl::Status status = CheckSpeaker(turn, request.speaker); !status.ok()) return status;
  if (absl::Status status = CheckReports(request); !status.ok()) return status;
  const Lease* lease = turn.memory.leases.Find(worker);
  const int64_t last_sequence = lease == nullptr ? 0 : lease->last_sequence;
  if (request.epoch == turn.draft.tables().epoch() && request.sequence <= last_sequence)
    return absl::AbortedError(fmt::format("heartbeat {} of worker {} comes after its heartbeat {}; it is not looked at",
                                          request.sequence, worker, last_sequence));
  turn.memory.leases.Renew(worker, turn.now.monotonic_us + turn.options.lease_us);
  HeartbeatReply reply;
  reply.epoch = turn.draft.tables().epoch();
  reply.lease_us = turn.options.lease_us - turn.options.lease_margin_us;
  reply.again = request.epoch != reply.epoch;
  // What was sent before this process began may be older than anything: it renews the lease and says nothing.
  if (reply.again) return reply;
  turn.memory.leases.Hear(worker, request.sequence);
  turn.look_again |= last_sequence == 0;
  // Before what it reports: ranks that stop because of that are no fault.
  if (request.leaving)
    if (const auto drained = DrainWorker(turn, {worker}); !drained.ok()) return drained.status();
  const Told told = TakeReports(turn, request);
  for (const std::string& job : turn.draft.JobsOn(worker)) {
    const auto found = told.find(job);
    HearOfJob(turn, job, here, found == told.end() ? std::map<int32_t, const RankReport*>{} : found->second);
  }
  // As in core.cc: not onto workers whose leases are over.
  const bool all_stand = turn.memory.leases.Expired(turn.now.monotonic_us).empty();
  if ((turn.draft.touched() || turn.look_again) && all_stand) Schedule(turn);
  for (const std::string& job : turn.draft.JobsOn(worker)) {
    const JobRow& row = turn.draft.Job(job);
    std::vector<int32_t> ranks = RanksHere(row, turn.MemoryOf(job), here);
    if (ranks.empty()) continue;
    const auto found = told.find(job);
    const bool known = found != told.end() && found->second.begin()->second->generation == row.generation;
    reply.assignments.push_back(AssignmentOf(row, std::move(ranks), known));
  }
  reply.may_leave = turn.draft.FindWorker(worker)->draining && turn.draft.JobsOn(worker).empty();
  return reply;
}

}  // namespace filigree::coordinator
