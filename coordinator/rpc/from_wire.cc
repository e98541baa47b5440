#include "coordinator/rpc/from_wire.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "proto/contract/ids.h"
#include "proto/rpc/job_spec.h"

namespace filigree::coordinator {
namespace {

constexpr int kMostReports = 16'384, kMostDigests = 64;
constexpr size_t kMostReasonBytes = 8192;
constexpr int64_t kMostRanks = 65'536, kMostLogOffset = int64_t{1} << 62;

absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: {} is outside {}..{}", field, value, low, high));
}

absl::StatusOr<Speaker> SpeakerOf(const v1::Speaker& wire) {
  if (absl::Status status = contract::CheckId("name of the worker", wire.worker()); !status.ok()) return status;
  return Speaker{wire.worker(), wire.incarnation()};
}

absl::StatusOr<int64_t> WaitOf(int64_t wait_us, const Limits& limits) {
  const int64_t most = std::chrono::microseconds(limits.longest_wait).count();
  if (absl::Status status = CheckRange("wait_us", wait_us, 0, most); !status.ok()) return status;
  return wait_us;
}

absl::StatusOr<Digests> DigestsOf(const google::protobuf::RepeatedPtrField<v1::Digest>& wire) {
  if (wire.size() > kMostDigests)
    return absl::InvalidArgumentError(fmt::format("{} digests, at most {} are taken", wire.size(), kMostDigests));
  Digests digests;
  digests.reserve(static_cast<size_t>(wire.size()));
  for (const v1::Digest& digest : wire) {
    if (!digests.empty() && digests.back().first >= digest.name())
      return absl::InvalidArgumentError(fmt::format("digest of {}: names must ascend", contract::Shown(digest.name())));
    digests.emplace_back(digest.name(), digest.digest());
  }
  return digests;
}

absl::StatusOr<RankState> StateOf(v1::RankState wire) {
  switch (wire) {
    case v1::RANK_STATE_STARTING:
      return RankState::kStarting;
    case v1::RANK_STATE_RUNNING:
      return RankState::kRunning;
    case v1::RANK_STATE_STOPPED:
      return RankState::kStopped;
    case v1::RANK_STATE_FINISHED:
      return RankState::kFinished;
    case v1::RANK_STATE_FAILED:
      return RankState::kFailed;
    default:
      return absl::InvalidArgumentError(
          fmt::format("state of a rank: number {} is not known here", static_cast<int>(wire)));
  }
}

PhaseSeconds SecondsOf(const v1::PhaseSeconds& wire) {
  return {wire.data(),     wire.forward(),   wire.backward(), wire.compress(),
          wire.exchange(), wire.optimizer(), wire.topk(),     wire.checkpoint()};
}

RankProgress ProgressOf(const v1::RankProgress& wire) {
  RankProgress progress;
  progress.step = wire.step();
  progress.seconds = SecondsOf(wire.seconds());
  progress.sent_bytes = wire.sent_bytes();
  progress.received_bytes = wire.received_bytes();
  progress.dense_equivalent_bytes = wire.dense_equivalent_bytes();
  return progress;
}

absl::StatusOr<RunFigures> FiguresOf(const v1::RunFigures& wire) {
  if (wire.matrices_size() > static_cast<int>(kMaxMatrices))
    return absl::InvalidArgumentError(
        fmt::format("figures of {} matrices, at most {} are taken", wire.matrices_size(), kMaxMatrices));
  const auto known = [](bool has, double value) { return has ? std::optional<double>(value) : std::nullopt; };
  RunFigures figures;
  figures.target_steps = wire.target_steps();
  figures.learning_rate = known(wire.has_learning_rate(), wire.learning_rate());
  figures.gradient_norm = known(wire.has_gradient_norm(), wire.gradient_norm());
  figures.train_loss = known(wire.has_train_loss(), wire.train_loss());
  figures.val_loss = known(wire.has_val_loss(), wire.val_loss());
  figures.density = known(wire.has_density(), wire.density());
  figures.target_density = wire.target_density();
  figures.tokens = wire.tokens();
  figures.skipped_steps = wire.skipped_steps();
  figures.checkpoint_failures = wire.checkpoint_failures();
  figures.config_sha256 = wire.config_sha256();
  figures.matrices.reserve(static_cast<size_t>(wire.matrices_size()));
  for (const v1::MatrixFigures& matrix : wire.matrices())
    figures.matrices.push_back({matrix.layer(), matrix.matrix(), matrix.density(), matrix.threshold(),
                                known(matrix.has_churn(), matrix.churn())});
  return figures;
}

absl::StatusOr<RankReport> ReportOf(const v1::RankReport& wire) {
  RankReport report;
  report.job = wire.job();
  report.generation = wire.generation();
  report.rank = wire.rank();
  const auto state = StateOf(wire.state());
  if (!state.ok()) return state.status();
  report.state = *state;
  if (wire.reason().size() > kMostReasonBytes)
    return absl::InvalidArgumentError(
        fmt::format("reason of a rank: has {} bytes, at most {} are taken", wire.reason().size(), kMostReasonBytes));
  report.reason = wire.reason();
  report.progress = ProgressOf(wire.progress());
  report.metrics_address = wire.metrics_address();
  if (wire.has_figures()) {
    auto figures = FiguresOf(wire.figures());
    if (!figures.ok()) return figures.status();
    report.figures = std::make_shared<const RunFigures>(*std::move(figures));
  }
  if (!wire.has_mask_epoch()) return report;
  if (wire.mask_epoch() < 0)
    return absl::InvalidArgumentError(fmt::format("mask_epoch: {} is below 0", wire.mask_epoch()));
  report.mask_epoch = wire.mask_epoch();
  auto digests = DigestsOf(wire.mask_digests());
  if (!digests.ok()) return digests.status();
  report.mask_digests = *std::move(digests);
  return report;
}

absl::StatusOr<GenerationKey> KeyOf(const v1::Speaker& speaker, const std::string& job, int64_t generation,
                                    const std::string& key, const Limits& limits) {
  const auto who = SpeakerOf(speaker);
  if (!who.ok()) return who.status();
  if (absl::Status status = contract::CheckId("job", job); !status.ok()) return status;
  if (key.empty() || key.size() > limits.key_bytes)
    return absl::InvalidArgumentError(
        fmt::format("key: has {} bytes, 1 to {} are taken", key.size(), limits.key_bytes));
  return GenerationKey{*who, job, generation, key};
}

absl::StatusOr<LogPart> LogPartOf(const v1::LogPart& wire, const Limits& limits) {
  for (const absl::Status& status :
       {contract::CheckId("job", wire.job()), CheckRange("generation", wire.generation(), 1, INT64_MAX),
        CheckRange("rank", wire.rank(), 0, kMostRanks - 1), CheckRange("offset", wire.offset(), 0, kMostLogOffset)})
    if (!status.ok()) return status;
  if (wire.text().size() > limits.log_part_bytes)
    return absl::InvalidArgumentError(
        fmt::format("text: has {} bytes, at most {} are taken", wire.text().size(), limits.log_part_bytes));
  return LogPart{wire.job(), {wire.generation(), wire.rank()}, wire.offset(), wire.text()};
}

CommitPoint PointOf(const v1::CommitPoint& wire) { return {wire.generation(), wire.step(), wire.digest()}; }

}  // namespace

absl::StatusOr<SubmitRequest> FromWire(const v1::SubmitRequest& wire, const Limits&) {
  auto spec = rpc::FromWire(wire.spec());
  if (!spec.ok()) return spec.status();
  return SubmitRequest{*std::move(spec)};
}

absl::StatusOr<GetQuery> FromWire(const v1::GetRequest& wire, const Limits&) {
  if (absl::Status status = contract::CheckId("job", wire.job()); !status.ok()) return status;
  return GetQuery{wire.job()};
}

absl::StatusOr<ListQuery> FromWire(const v1::ListRequest& wire, const Limits&) {
  for (const absl::Status& status :
       {CheckRange("limit", wire.limit(), 0, 500), CheckRange("before_number", wire.before_number(), 0, INT64_MAX)})
    if (!status.ok()) return status;
  return ListQuery{wire.ended(), wire.before_number(), wire.limit() == 0 ? 100 : wire.limit()};
}

absl::StatusOr<ListWorkersQuery> FromWire(const v1::ListWorkersRequest& wire, const Limits&) {
  if (absl::Status status = CheckRange("limit", wire.limit(), 0, 1000); !status.ok()) return status;
  if (!wire.after().empty())
    if (absl::Status status = contract::CheckId("after", wire.after()); !status.ok()) return status;
  return ListWorkersQuery{wire.gone(), wire.after(), wire.limit() == 0 ? 200 : wire.limit()};
}

absl::StatusOr<WatchQuery> FromWire(const v1::WatchRequest& wire, const Limits&) {
  if (!wire.job().empty())
    if (absl::Status status = contract::CheckId("job", wire.job()); !status.ok()) return status;
  const int64_t progress_ms = wire.progress_ms() == 0 ? 1000 : wire.progress_ms();
  if (absl::Status status = CheckRange("progress_ms", progress_ms, 200, 60'000); !status.ok()) return status;
  return WatchQuery{wire.job(), progress_ms * 1000};
}

absl::StatusOr<ReadLogQuery> FromWire(const v1::ReadLogRequest& wire, const Limits&) {
  for (const absl::Status& status :
       {contract::CheckId("job", wire.job()), CheckRange("rank", wire.rank(), 0, kMostRanks - 1),
        CheckRange("tail_bytes", wire.tail_bytes(), 0, INT64_MAX),
        CheckRange("generation", wire.has_generation() ? wire.generation() : 1, 1, INT64_MAX)})
    if (!status.ok()) return status;
  ReadLogQuery query{wire.job(), std::nullopt, std::nullopt, wire.tail_bytes(), wire.follow()};
  if (wire.has_rank()) query.rank = wire.rank();
  if (wire.has_generation()) query.generation = wire.generation();
  return query;
}

absl::StatusOr<CancelRequest> FromWire(const v1::CancelRequest& wire, const Limits&) {
  return CancelRequest{wire.job()};
}

absl::StatusOr<DrainQuery> FromWire(const v1::DrainRequest& wire, const Limits&) {
  if (wire.has_job()) return DrainQuery(DrainJobRequest{wire.job()});
  if (wire.has_worker()) return DrainQuery(DrainWorkerRequest{wire.worker()});
  return absl::InvalidArgumentError("drain: neither a job nor a worker is named");
}

absl::StatusOr<RegisterRequest> FromWire(const v1::RegisterRequest& wire, const Limits&) {
  RegisterRequest request;
  request.name = wire.name();
  request.host = wire.host();
  request.slots = wire.slots();
  request.nonce = wire.nonce();
  request.replaces = wire.replaces();
  return request;
}

absl::StatusOr<HeartbeatRequest> FromWire(const v1::HeartbeatRequest& wire, const Limits&) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  if (wire.ranks_size() > kMostReports)
    return absl::InvalidArgumentError(fmt::format("heartbeat of worker {}: {} rank reports, at most {} are taken",
                                                  speaker->worker, wire.ranks_size(), kMostReports));
  HeartbeatRequest request;
  request.speaker = *speaker;
  request.epoch = wire.epoch();
  request.sequence = wire.sequence();
  request.leaving = wire.leaving();
  if (request.sequence < 1)
    return absl::InvalidArgumentError(fmt::format("sequence of a heartbeat: {} is below 1", request.sequence));
  request.ranks.reserve(static_cast<size_t>(wire.ranks_size()));
  for (const v1::RankReport& report : wire.ranks()) {
    auto rank = ReportOf(report);
    if (!rank.ok())
      return absl::InvalidArgumentError(fmt::format("report of rank {} of job {}: {}", report.rank(),
                                                    contract::Shown(report.job()),
                                                    std::string(rank.status().message())));
    request.ranks.push_back(*std::move(rank));
  }
  return request;
}

absl::StatusOr<AwaitNewsQuery> FromWire(const v1::AwaitNewsRequest& wire, const Limits& limits) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  const auto wait_us = WaitOf(wire.wait_us(), limits);
  if (!wait_us.ok()) return wait_us.status();
  return AwaitNewsQuery{*speaker, *wait_us};
}

absl::StatusOr<LeaveRequest> FromWire(const v1::LeaveRequest& wire, const Limits&) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  return LeaveRequest{*speaker};
}

absl::StatusOr<CommitRequest> FromWire(const v1::CommitCheckpointRequest& wire, const Limits&) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  return CommitRequest{*speaker, wire.job(), PointOf(wire.point())};
}

absl::StatusOr<MaskReportRequest> FromWire(const v1::ReportMaskRequest& wire, const Limits&) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  auto before = DigestsOf(wire.before());
  if (!before.ok()) return before.status();
  auto after = DigestsOf(wire.after());
  if (!after.ok()) return after.status();
  MaskReportRequest request;
  request.speaker = *speaker;
  request.job = wire.job();
  request.generation = wire.generation();
  request.rank = wire.rank();
  request.epoch = wire.epoch();
  request.before = *std::move(before);
  request.after = *std::move(after);
  return request;
}

absl::StatusOr<SetKeyQuery> FromWire(const v1::SetKeyRequest& wire, const Limits& limits) {
  auto key = KeyOf(wire.speaker(), wire.job(), wire.generation(), wire.key(), limits);
  if (!key.ok()) return key.status();
  if (wire.value().size() > limits.value_bytes)
    return absl::InvalidArgumentError(
        fmt::format("value: has {} bytes, at most {} are taken", wire.value().size(), limits.value_bytes));
  return SetKeyQuery{*std::move(key), wire.value()};
}

absl::StatusOr<GetKeyQuery> FromWire(const v1::GetKeyRequest& wire, const Limits& limits) {
  auto key = KeyOf(wire.speaker(), wire.job(), wire.generation(), wire.key(), limits);
  if (!key.ok()) return key.status();
  const auto wait_us = WaitOf(wire.wait_us(), limits);
  if (!wait_us.ok()) return wait_us.status();
  return GetKeyQuery{*std::move(key), *wait_us};
}

absl::StatusOr<SendLogQuery> FromWire(const v1::SendLogRequest& wire, const Limits& limits) {
  const auto speaker = SpeakerOf(wire.speaker());
  if (!speaker.ok()) return speaker.status();
  if (wire.parts_size() > limits.log_parts)
    return absl::InvalidArgumentError(
        fmt::format("{} parts of logs, at most {} are taken", wire.parts_size(), limits.log_parts));
  SendLogQuery query{*speaker, {}};
  query.parts.reserve(static_cast<size_t>(wire.parts_size()));
  size_t bytes = 0;
  for (const v1::LogPart& sent : wire.parts()) {
    auto part = LogPartOf(sent, limits);
    if (!part.ok())
      return absl::InvalidArgumentError(fmt::format("log of rank {} of job {}: {}", sent.rank(),
                                                    contract::Shown(sent.job()), std::string(part.status().message())));
    bytes += part->text.size();
    query.parts.push_back(*std::move(part));
  }
  if (bytes > limits.log_message_bytes)
    return absl::InvalidArgumentError(
        fmt::format("parts of logs: {} bytes together, at most {} are taken", bytes, limits.log_message_bytes));
  return query;
}

}  // namespace filigree::coordinator
