#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "coordinator/core/parts.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {

absl::StatusOr<const JobRow*> OpenOrEnded(const Turn& turn, const std::string& job) {
  if (absl::Status status = contract::CheckId("job", job); !status.ok()) return status;
  const JobRow* row = turn.draft.FindJob(job);
  if (row == nullptr)
    return absl::NotFoundError(fmt::format("job {} is not known here; list the jobs for their names", job));
  return row;
}

namespace {

// Two workers with a slot each would do for most jobs of two ranks: who waits for more than that says so.
std::string ReasonToWait(const contract::JobSpec& spec) {
  const int64_t ranks = int64_t{spec.min_data} * spec.tensor;
  if (!contract::OnOneWorker(spec.backend) || ranks == 1) return "submitted";
  return fmt::format("submitted; backend {} takes one worker with {} slots", contract::Name(spec.backend), ranks);
}

// Makes room for the job that is submitted, which has to end some day. Those of highest numbers stay, so that numbers
// are never given out again. A few at a time, where the limit was lowered: a decision is one transaction.
void ForgetEnded(Turn& turn) {
  constexpr size_t kAtOnce = 8;
  const std::map<int64_t, std::string>& ended = turn.draft.tables().ended_jobs();
  size_t surplus = ended.size() >= turn.options.max_ended ? ended.size() - turn.options.max_ended + 1 : 0;
  surplus = std::min({surplus, kAtOnce, ended.size()});
  for (auto job = ended.begin(); surplus > 0; ++job, --surplus) turn.draft.Forget(job->second);
}

}  // namespace

absl::StatusOr<SubmitReply> Submit(Turn& turn, const SubmitRequest& request) {
  const contract::JobSpec& spec = request.spec;
  if (absl::Status status = contract::Validate(spec); !status.ok()) return status;
  const Tables& tables = turn.draft.tables();
  if (!spec.idempotency_key.empty())
    if (const std::string* known = tables.JobOfKey(spec.idempotency_key); known != nullptr) {
      const contract::JobSpec& first = *turn.draft.Job(*known).spec;
      if (first == spec) return SubmitReply{*known, true};
      return absl::AlreadyExistsError(
          fmt::format("idempotency_key {} belongs to job {}, which differs in: {}; use another key for another job",
                      spec.idempotency_key, *known, contract::DifferingFields(first, spec)));
    }
  if (turn.options.of_one_run && !(tables.open_jobs().empty() && tables.ended_jobs().empty()))
    return absl::FailedPreconditionError(
        "this coordinator belongs to the one run that it has and ends with it; submit to one that was started with "
        "filigree coordinator");
  if (tables.open_jobs().size() >= turn.options.max_jobs)
    return absl::ResourceExhaustedError(
        fmt::format("{} jobs have not ended, more are not taken; try again when one has", turn.options.max_jobs));
  ForgetEnded(turn);
  JobRow row;
  row.number = tables.next_number();
  row.id = contract::JobId(spec.name, row.number);
  row.spec = std::make_shared<const contract::JobSpec>(spec);
  row.reason = ReasonToWait(spec);
  row.submitted_us = turn.now.wall_us;
  turn.draft.Put(row);
  Event& event = Say(turn, EventKind::kJobMoved, row.reason);
  event.job = row.id;
  return SubmitReply{row.id, false};
}

absl::StatusOr<Empty> Cancel(Turn& turn, const CancelRequest& request) {
  const auto row = OpenOrEnded(turn, request.job);
  if (!row.ok()) return row.status();
  const JobRow& job = **row;
  if (job.state == JobState::kCancelled) return Empty{};
  if (Ended(job.state))
    return absl::FailedPreconditionError(fmt::format("job {} has ended: {}", request.job, Name(job.state)));
  if (!job.held) {
    MoveJob(turn, request.job, JobState::kCancelled, "cancelled on request");
  } else if (job.state != JobState::kDraining) {
    StartDraining(turn, request.job, Intent::kCancel, "cancelled on request");
  } else if (job.intent != Intent::kCancel) {
    JobRow& edited = turn.draft.EditJob(request.job);
    edited.intent = Intent::kCancel;
    edited.reason = "cancelled on request";
  }
  return Empty{};
}

absl::StatusOr<Empty> DrainJob(Turn& turn, const DrainJobRequest& request) {
  const auto row = OpenOrEnded(turn, request.job);
  if (!row.ok()) return row.status();
  const JobRow& job = **row;
  if (job.state == JobState::kCancelled) return Empty{};
  if (Ended(job.state))
    return absl::FailedPreconditionError(fmt::format("job {} has ended: {}", request.job, Name(job.state)));
  if (!job.held) {
    MoveJob(turn, request.job, JobState::kCancelled, "drained on request");
  } else if (job.state == JobState::kRecovering) {
    StartDraining(turn, request.job, Intent::kCancel, "drained on request, after a fault");
  } else if (job.state != JobState::kDraining) {
    StartDraining(turn, request.job, Intent::kStop, "drained on request");
  } else if (job.intent == Intent::kRequeue || job.intent == Intent::kGrow) {
    JobRow& edited = turn.draft.EditJob(request.job);
    edited.intent = Intent::kStop;
    edited.reason = "drained on request";
  }
  return Empty{};
}

}  // namespace filigree::coordinator
