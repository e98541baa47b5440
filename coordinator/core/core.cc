#include "coordinator/core/core.h"

#include <algorithm>
#include <set>
#include <utility>

#include "coordinator/core/parts.h"
#include "kernels/base/check.h"

namespace filigree::coordinator {

Core::Core(const Options& options, Tables tables, Now now)
    : options_(options), tables_(std::move(tables)), latest_us_(now.monotonic_us) {
  for (const auto& [name, row] : tables_.workers())
    if (row.presence == Presence::kLive) memory_.leases.Grant(name, now.monotonic_us + options_.lease_us);
}

template <typename Reply, typename Work>
Decision<Reply> Core::Decide(Now now, Work work, const std::string* renews) {
  CHECK(!undecided_, "the decision before was neither accepted nor dropped");
  undecided_ = true;
  latest_us_ = std::max(latest_us_, now.monotonic_us);
  now.monotonic_us = latest_us_;
  Turn turn{options_, now, memory_, Draft(tables_)};
  if (renews == nullptr)
    ExpireLeases(turn);
  else
    ExpireLease(turn, *renews);
  Decision<Reply> decision{work(turn), {}};
  // Not onto workers whose leases are over: the Tick that ends those schedules.
  const bool all_stand = renews == nullptr || memory_.leases.Expired(now.monotonic_us).empty();
  if ((turn.draft.touched() || turn.look_again) && all_stand) Schedule(turn);
  decision.outcome.rows = turn.draft.Take();
  decision.outcome.events = std::move(turn.events);
  const std::set<std::string> concerned = turn.draft.WorkersConcerned();
  decision.outcome.nudged.assign(concerned.begin(), concerned.end());
  decision.outcome.now = now;
  decision.outcome.number = ++number_;
  return decision;
}

void Core::Accept(const Outcome& outcome) {
  CHECK(undecided_ && outcome.number == number_, "not the decision that waits");
  undecided_ = false;
  for (const WorkerRow& row : outcome.rows.workers) {
    const WorkerRow* stands = tables_.FindWorker(row.name);
    if (row.presence != Presence::kLive)
      memory_.leases.End(row.name);
    else if (stands == nullptr || stands->incarnation != row.incarnation)
      memory_.leases.Grant(row.name, outcome.now.monotonic_us + options_.lease_us);
  }
  tables_.Apply(outcome.rows);
  for (const JobRow& row : outcome.rows.jobs)
    if (Ended(row.state)) memory_.jobs.erase(row.id);
  for (const std::string& job : outcome.rows.forgotten) memory_.masks.erase(job);
}

void Core::Drop(const Outcome& outcome) {
  CHECK(undecided_ && outcome.number == number_, "not the decision that waits");
  undecided_ = false;
  for (const JobRow& row : outcome.rows.jobs) {
    const JobRow* stands = tables_.FindJob(row.id);
    // A generation that did not come to be may be placed anew, elsewhere, under the same number.
    if (stands == nullptr)
      memory_.jobs.erase(row.id);
    else if (const auto known = memory_.jobs.find(row.id);
             known != memory_.jobs.end() && stands->generation != row.generation)
      known->second.generation = -1;
  }
}

Decision<Empty> Core::Start(Now now) {
  return Decide<Empty>(now, [](Turn& turn) -> absl::StatusOr<Empty> {
    turn.draft.PutEpoch(turn.draft.tables().epoch() + 1);
    return Empty{};
  });
}

Decision<RegisterReply> Core::Register(Now now, const RegisterRequest& request) {
  return Decide<RegisterReply>(now, [&](Turn& turn) { return coordinator::Register(turn, request); });
}

Decision<HeartbeatReply> Core::Heartbeat(Now now, const HeartbeatRequest& request) {
  return Decide<HeartbeatReply>(
      now, [&](Turn& turn) { return coordinator::Heartbeat(turn, request); }, &request.speaker.worker);
}

Decision<Empty> Core::Leave(Now now, const LeaveRequest& request) {
  return Decide<Empty>(now, [&](Turn& turn) { return coordinator::Leave(turn, request); });
}

Decision<Empty> Core::DrainWorker(Now now, const DrainWorkerRequest& request) {
  return Decide<Empty>(now, [&](Turn& turn) { return coordinator::DrainWorker(turn, request); });
}

Decision<SubmitReply> Core::Submit(Now now, const SubmitRequest& request) {
  return Decide<SubmitReply>(now, [&](Turn& turn) { return coordinator::Submit(turn, request); });
}

Decision<Empty> Core::Cancel(Now now, const CancelRequest& request) {
  return Decide<Empty>(now, [&](Turn& turn) { return coordinator::Cancel(turn, request); });
}

Decision<Empty> Core::DrainJob(Now now, const DrainJobRequest& request) {
  return Decide<Empty>(now, [&](Turn& turn) { return coordinator::DrainJob(turn, request); });
}

Decision<Empty> Core::Commit(Now now, const CommitRequest& request) {
  return Decide<Empty>(now, [&](Turn& turn) { return coordinator::Commit(turn, request); });
}

Decision<MaskReportReply> Core::ReportMask(Now now, const MaskReportRequest& request) {
  return Decide<MaskReportReply>(now, [&](Turn& turn) { return coordinator::ReportMask(turn, request); });
}

Decision<Empty> Core::Tick(Now now) {
  return Decide<Empty>(now, [](Turn& turn) -> absl::StatusOr<Empty> {
    WatchTime(turn);
    Schedule(turn);
    return Empty{};
  });
}

}  // namespace filigree::coordinator
