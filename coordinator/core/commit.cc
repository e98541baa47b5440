#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr int64_t kMaxStep = int64_t{1} << 53;

// Whether that process may write for the job's generation at all.
absl::Status CheckWriter(const JobRow& row, const CommitRequest& request) {
  const std::string what =
      fmt::format("commit of step {} by generation {} of job {}", request.point.step, request.point.generation, row.id);
  if (request.point.generation != row.generation)
    return absl::FailedPreconditionError(
        fmt::format("{}: the job is at generation {}; a stale generation is refused for ever, its ranks must stop",
                    what, row.generation));
  const bool writes = row.state == JobState::kPlaced || row.state == JobState::kRunning ||
                      (row.state == JobState::kDraining && row.intent != Intent::kCancel);
  if (!writes)
    return absl::FailedPreconditionError(
        fmt::format("{}: the job is {} and that generation is ended; its ranks must stop", what, Name(row.state)));
  const RankPlace here = {request.speaker.worker, request.speaker.incarnation};
  if (std::find(row.ranks.begin(), row.ranks.end(), here) == row.ranks.end())
    return absl::PermissionDeniedError(fmt::format("{}: worker {} has no rank of it", what, request.speaker.worker));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Empty> Commit(Turn& turn, const CommitRequest& request) {
  if (absl::Status status = CheckSpeaker(turn, request.speaker); !status.ok()) return status;
  const auto row = OpenOrEnded(turn, request.job);
  if (!row.ok()) return row.status();
  if (absl::Status status = contract::CheckDigest("digest of the manifest", request.point.digest); !status.ok())
    return status;
  if (request.point.step < 0 || request.point.step > kMaxStep)
    return absl::InvalidArgumentError(fmt::format("step of the commit: {} is out of range", request.point.step));
  if (absl::Status status = CheckWriter(**row, request); !status.ok()) return status;
  const CommitRow* last = turn.draft.LastCommit(request.job);
  if (last != nullptr && last->point == request.point) return Empty{};  // the answer to the first try was lost
  if (last != nullptr && request.point.step <= last->point.step)
    return absl::FailedPreconditionError(
        fmt::format("commit of step {} of job {}: step {} is committed already with manifest {}; steps must ascend",
                    request.point.step, request.job, last->point.step, last->point.digest));
  turn.draft.Put(CommitRow{request.job, request.point, turn.now.wall_us});
  Event& event =
      Say(turn, EventKind::kCommitted, fmt::format("step {}, manifest {}", request.point.step, request.point.digest));
  event.job = request.job;
  event.worker = request.speaker.worker;
  event.generation = request.point.generation;
  event.step = request.point.step;
  return Empty{};
}

}  // namespace filigree::coordinator
