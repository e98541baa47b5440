#include "worker/agent/tell_check.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "proto/contract/address.h"
#include "proto/contract/ids.h"

namespace filigree::agent {
namespace {

constexpr int64_t kMostSteps = int64_t{1} << 53;
constexpr int kMostDigests = 64, kMostMatrices = 4096;

absl::Status CheckSeconds(const v1::PhaseSeconds& seconds) {
  for (const double part : {seconds.data(), seconds.forward(), seconds.backward(), seconds.compress(),
                            seconds.exchange(), seconds.optimizer(), seconds.topk(), seconds.checkpoint()})
    if (!std::isfinite(part) || part < 0)
      return absl::InvalidArgumentError("progress.seconds: must be finite and not below 0");
  return absl::OkStatus();
}

absl::Status CheckDigests(const v1::TellRequest& tell) {
  if (tell.mask_digests_size() > kMostDigests)
    return absl::InvalidArgumentError(
        fmt::format("mask_digests: {} of them, at most {} are taken", tell.mask_digests_size(), kMostDigests));
  if (tell.has_mask_epoch() && tell.mask_epoch() < 0)
    return absl::InvalidArgumentError(fmt::format("mask_epoch: {} is below 0", tell.mask_epoch()));
  std::string before;
  for (const v1::Digest& digest : tell.mask_digests()) {
    if (absl::Status status = contract::CheckId("name of a digest", digest.name()); !status.ok()) return status;
    if (absl::Status status = contract::CheckDigest("digest " + digest.name(), digest.digest()); !status.ok())
      return status;
    if (digest.name() <= before)
      return absl::InvalidArgumentError(fmt::format("digest {}: names must ascend", digest.name()));
    before = digest.name();
  }
  return absl::OkStatus();
}

absl::Status CheckFigures(const v1::RunFigures& figures) {
  if (figures.matrices_size() > kMostMatrices)
    return absl::InvalidArgumentError(
        fmt::format("figures of {} matrices, at most {} are taken", figures.matrices_size(), kMostMatrices));
  if (!figures.config_sha256().empty())
    if (absl::Status status = contract::CheckDigest("config_sha256", figures.config_sha256()); !status.ok())
      return status;
  for (const v1::MatrixFigures& matrix : figures.matrices())
    if (absl::Status status = contract::CheckId("name of a matrix", matrix.matrix()); !status.ok()) return status;
  return absl::OkStatus();
}

absl::Status CheckAddress(const std::string& address) {
  if (address.empty()) return absl::OkStatus();
  const auto parsed = contract::ParseAddress("metrics_address", address);
  if (!parsed.ok()) return parsed.status();
  return parsed->port == 0 ? absl::InvalidArgumentError("metrics_address: port 0 is none") : absl::OkStatus();
}

}  // namespace

absl::Status CheckTell(const v1::TellRequest& tell) {
  const v1::RankState state = tell.state();
  if (state != v1::RANK_STATE_STARTING && state != v1::RANK_STATE_RUNNING && state != v1::RANK_STATE_FAILED)
    return absl::InvalidArgumentError(fmt::format(
        "state: a rank tells that it is starting, running or failed; {} is none of them", static_cast<int>(state)));
  if (tell.progress().step() < 0 || tell.progress().step() > kMostSteps)
    return absl::InvalidArgumentError(
        fmt::format("progress.step: {} is outside 0..{}", tell.progress().step(), kMostSteps));
  if (absl::Status status = CheckSeconds(tell.progress().seconds()); !status.ok()) return status;
  if (absl::Status status = CheckDigests(tell); !status.ok()) return status;
  if (absl::Status status = CheckAddress(tell.metrics_address()); !status.ok()) return status;
  return CheckFigures(tell.figures());
}

}  // namespace filigree::agent
