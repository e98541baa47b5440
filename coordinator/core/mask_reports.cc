#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr size_t kMaxDigests = 64;

absl::Status CheckDigests(const Digests& digests) {
  if (digests.size() > kMaxDigests)
    return absl::InvalidArgumentError(fmt::format("{} digests, at most {} are taken", digests.size(), kMaxDigests));
  for (const auto& [name, digest] : digests) {
    if (absl::Status status = contract::CheckId("name of a digest", name); !status.ok()) return status;
    if (absl::Status status = contract::CheckDigest("digest of " + name, digest); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const JobRow& row, const MaskReportRequest& request) {
  if (request.epoch < 0 || request.after.empty())
    return absl::InvalidArgumentError(
        "mask report: an update of number 0 or more and at least one digest were expected");
  for (const Digests* digests : {&request.before, &request.after})
    if (absl::Status status = CheckDigests(*digests); !status.ok()) return status;
  if (request.generation != row.generation || !row.held || row.state == JobState::kRecovering)
    return absl::FailedPreconditionError(
        fmt::format("mask report of generation {} of job {}: the job is {} at generation {}; the ranks must stop",
                    request.generation, row.id, Name(row.state), row.generation));
  const RankPlace here = {request.speaker.worker, request.speaker.incarnation};
  if (request.rank < 0 || request.rank >= static_cast<int32_t>(row.ranks.size()) || !(row.ranks[request.rank] == here))
    return absl::PermissionDeniedError(
        fmt::format("mask report of job {}: worker {} does not hold rank {}", row.id, here.worker, request.rank));
  return absl::OkStatus();
}

std::string Named(const JobRow& row, const MaskAgreement::Verdict& verdict) {
  std::string names;
  for (const int32_t rank : verdict.ranks) {
    if (!names.empty()) names += ", ";
    names += RankName(row, rank);
  }
  return fmt::format("{} {}", names, verdict.text);
}

}  // namespace

absl::StatusOr<MaskReportReply> ReportMask(Turn& turn, const MaskReportRequest& request) {
  if (absl::Status status = CheckSpeaker(turn, request.speaker); !status.ok()) return status;
  const auto found = OpenOrEnded(turn, request.job);
  if (!found.ok()) return found.status();
  const JobRow row = **found;
  if (absl::Status status = CheckRequest(row, request); !status.ok()) return status;
  const auto verdict =
      turn.MemoryOf(request.job).masks.Report(request.rank, request.epoch, request.before, request.after);
  if (verdict.kind != MaskAgreement::Verdict::kDiffer) {
    if (verdict.first) {
      ++turn.memory.masks[request.job].agreed;
      Event& event = Say(turn, EventKind::kMasksAgreed, fmt::format("all {} ranks", row.ranks.size()));
      event.job = request.job;
      event.generation = row.generation;
      event.step = request.epoch;
    }
    return MaskReportReply{verdict.kind == MaskAgreement::Verdict::kAgreed};
  }
  const std::string text = OneLine(Named(row, verdict));
  ++turn.memory.masks[request.job].differed;
  Event& event = Say(turn, EventKind::kMasksDiffer, text);
  event.job = request.job;
  event.generation = row.generation;
  event.rank = verdict.ranks.front();
  event.worker = row.ranks[event.rank].worker;
  event.step = request.epoch;
  Fault(turn, request.job, {.rank = verdict.ranks.front(), .reason = text, .rollback = true});
  Progress(turn, request.job);
  return absl::DataLossError(fmt::format("job {}: {}; the run goes back to its last commit", request.job, text));
}

}  // namespace filigree::coordinator
