#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr size_t kMaxDigests = 64;

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

absl::Status CheckDigests(const Digests& digests) {
  if (digests.size() > kMaxDigests)
    return absl::InvalidArgumentError(fmt::format("{} digests, at most {} are taken", digests.size(), kMaxDigests));
  for (const auto& [name, digest] : digests) {
    if (absl::Status status = contract::CheckId("name of a digest", name); !status.ok()) return status;
    if (absl::Status status = contract::CheckDigest("digest of " + name, digest); !status.ok()) return status;
  }
  return absl::OkStatus();
}

MaskAgreement::Verdict HearMasks(Turn& turn, const std::string& job, int32_t rank, int64_t epoch, const Digests& before,
                                 const Digests& after) {
  const JobRow row = turn.draft.Job(job);
  MaskAgreement::Verdict verdict = turn.MemoryOf(job).masks.Report(rank, epoch, before, after);
  const bool differ = verdict.kind == MaskAgreement::Verdict::kDiffer;
  if (!differ && !verdict.first) return verdict;
  verdict.text = differ ? OneLine(Named(row, verdict)) : fmt::format("all {} ranks", row.ranks.size());
  Memory::MaskCounts& counts = turn.memory.masks[job];
  ++(differ ? counts.differed : counts.agreed);
  Event& event = Say(turn, differ ? EventKind::kMasksDiffer : EventKind::kMasksAgreed, verdict.text);
  event.job = job;
  event.generation = row.generation;
  event.step = epoch;
  if (!differ) return verdict;
  event.rank = verdict.ranks.front();
  event.worker = row.ranks[event.rank].worker;
  Fault(turn, job, {.rank = verdict.ranks.front(), .reason = verdict.text, .rollback = true});
  return verdict;
}

absl::StatusOr<MaskReportReply> ReportMask(Turn& turn, const MaskReportRequest& request) {
  if (absl::Status status = CheckSpeaker(turn, request.speaker); !status.ok()) return status;
  const auto found = OpenOrEnded(turn, request.job);
  if (!found.ok()) return found.status();
  if (absl::Status status = CheckRequest(**found, request); !status.ok()) return status;
  const auto verdict = HearMasks(turn, request.job, request.rank, request.epoch, request.before, request.after);
  if (verdict.kind != MaskAgreement::Verdict::kDiffer)
    return MaskReportReply{verdict.kind == MaskAgreement::Verdict::kAgreed};
  Progress(turn, request.job);
  return absl::DataLossError(
      fmt::format("job {}: {}; the run goes back to its last commit", request.job, verdict.text));
}

}  // namespace filigree::coordinator
