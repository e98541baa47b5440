#include "worker/attach/part.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "proto/contract/ids.h"

namespace filigree::attach {
namespace {

constexpr int64_t kMostRanks = 65536;
constexpr int64_t kMostSteps = int64_t{1} << 53;
constexpr int64_t kLongestLeaseUs = int64_t{3600} * 1'000'000;

absl::Status Senseless(const std::string& what) {
  return absl::DataLossError(fmt::format(
      "the agent's answer makes no sense: {}; start agent and coordinator of the same version as this program", what));
}

absl::Status CheckResume(const v1::CommitPoint& point, int64_t generation) {
  if (point.generation() < 1 || point.generation() >= generation)
    return Senseless(
        fmt::format("generation {} is to go on from a checkpoint of generation {}", generation, point.generation()));
  if (point.step() < 0 || point.step() > kMostSteps)
    return Senseless(fmt::format("it is to go on from step {}", point.step()));
  if (absl::Status status = contract::CheckDigest("the checkpoint's digest", point.digest()); !status.ok())
    return Senseless(std::string(status.message()));
  return absl::OkStatus();
}

absl::Status CheckPart(const v1::Part& part, int64_t after) {
  if (absl::Status status = contract::CheckId("the job", part.job()); !status.ok())
    return Senseless(std::string(status.message()));
  if (part.generation() < 1 || part.generation() <= after)
    return Senseless(fmt::format("a part of generation {} follows one of generation {}", part.generation(), after));
  const int64_t ranks = int64_t{part.data()} * part.tensor();
  if (part.data() < 1 || part.tensor() < 1 || ranks > kMostRanks)
    return Senseless(fmt::format("a grid of {} x {} ranks", part.data(), part.tensor()));
  if (part.rank() < 0 || part.rank() >= ranks) return Senseless(fmt::format("rank {} of {} ranks", part.rank(), ranks));
  return part.has_resume() ? CheckResume(part.resume(), part.generation()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<Taken> TakenOf(const v1::TakeReply& reply, int64_t after) {
  Taken taken;
  taken.over = reply.over();
  if (!reply.has_part() || reply.over()) return taken;
  const v1::Part& wire = reply.part();
  if (absl::Status status = CheckPart(wire, after); !status.ok()) return status;
  Part& part = taken.part.emplace();
  part.job = wire.job();
  part.generation = wire.generation();
  part.rank = wire.rank();
  part.grid = {wire.data(), wire.tensor()};
  part.rollback = wire.rollback();
  if (wire.has_resume()) part.resume = {wire.resume().generation(), wire.resume().step(), wire.resume().digest()};
  return taken;
}

absl::StatusOr<Order> OrderOf(const v1::TellReply& reply) {
  Order order;
  order.keep = reply.keep();
  if (reply.has_lease_left_us()) {
    if (reply.lease_left_us() < 0 || reply.lease_left_us() > kLongestLeaseUs)
      return Senseless(fmt::format("{} us are left of the worker's lease", reply.lease_left_us()));
    order.lease_left = std::chrono::microseconds(reply.lease_left_us());
  }
  switch (reply.directive()) {
    case v1::DIRECTIVE_GO_ON:
      order.directive = Directive::kGoOn;
      return order;
    case v1::DIRECTIVE_CHECKPOINT:
      order.directive = Directive::kCheckpoint;
      return order;
    case v1::DIRECTIVE_LEAVE:
      order.directive = Directive::kLeave;
      return order;
    default:
      return Senseless(fmt::format("directive {} is not known here", static_cast<int>(reply.directive())));
  }
}

}  // namespace filigree::attach
