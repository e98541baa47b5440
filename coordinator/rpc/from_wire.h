#ifndef FILIGREE_COORDINATOR_RPC_FROM_WIRE_H_
#define FILIGREE_COORDINATOR_RPC_FROM_WIRE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/messages.h"
#include "coordinator/rpc/limits.h"
#include "filigree/v1/coordinator.pb.h"
#include "filigree/v1/workers.pb.h"

// Messages as the core takes them, one function each. What arrives is hostile: InvalidArgument names the field that is
// no name, out of its range or missing; what the core checks itself (ids and ranges of its own rules) is left to it.
// Pure: no state, any bytes that protobuf parses.

namespace filigree::coordinator {

// What the core does not decide: answered from tables.
struct GetQuery {
  std::string job;
};
struct ListQuery {
  bool ended = false;
  int64_t before_number = 0;
  int32_t limit = 0;
};
struct ListWorkersQuery {
  bool gone = false;
  std::string after;
  int32_t limit = 0;
};
struct WatchQuery {
  std::string job;  // empty: everything
  int64_t progress_us = 0;
};
// Of what generation, and who asks.
struct GenerationKey {
  Speaker speaker;
  std::string job;
  int64_t generation = 0;
  std::string key;
};
struct SetKeyQuery {
  GenerationKey key;
  std::string value;
};
struct GetKeyQuery {
  GenerationKey key;
  int64_t wait_us = 0;
};
struct AwaitNewsQuery {
  Speaker speaker;
  int64_t wait_us = 0;
};
// A rank's log in one generation.
struct LogKey {
  int64_t generation = 0;
  int32_t rank = 0;

  bool operator==(const LogKey&) const = default;
  bool operator<(const LogKey& other) const {
    return generation != other.generation ? generation < other.generation : rank < other.rank;
  }
};
struct LogPart {
  std::string job;
  LogKey key;
  int64_t offset = 0;  // bytes that were printed before it
  std::string text;
};
struct SendLogQuery {
  Speaker speaker;
  std::vector<LogPart> parts;
};
struct ReadLogQuery {
  std::string job;
  std::optional<int32_t> rank;        // none: all
  std::optional<int64_t> generation;  // none: all
  int64_t tail_bytes = 0;             // of each log; 0: all
  bool follow = false;
};
using DrainQuery = std::variant<DrainJobRequest, DrainWorkerRequest>;

absl::StatusOr<SubmitRequest> FromWire(const v1::SubmitRequest& wire, const Limits& limits);
absl::StatusOr<GetQuery> FromWire(const v1::GetRequest& wire, const Limits& limits);
absl::StatusOr<ListQuery> FromWire(const v1::ListRequest& wire, const Limits& limits);
absl::StatusOr<ListWorkersQuery> FromWire(const v1::ListWorkersRequest& wire, const Limits& limits);
absl::StatusOr<WatchQuery> FromWire(const v1::WatchRequest& wire, const Limits& limits);
absl::StatusOr<ReadLogQuery> FromWire(const v1::ReadLogRequest& wire, const Limits& limits);
absl::StatusOr<CancelRequest> FromWire(const v1::CancelRequest& wire, const Limits& limits);
absl::StatusOr<DrainQuery> FromWire(const v1::DrainRequest& wire, const Limits& limits);

absl::StatusOr<RegisterRequest> FromWire(const v1::RegisterRequest& wire, const Limits& limits);
absl::StatusOr<HeartbeatRequest> FromWire(const v1::HeartbeatRequest& wire, const Limits& limits);
absl::StatusOr<AwaitNewsQuery> FromWire(const v1::AwaitNewsRequest& wire, const Limits& limits);
absl::StatusOr<LeaveRequest> FromWire(const v1::LeaveRequest& wire, const Limits& limits);
absl::StatusOr<CommitRequest> FromWire(const v1::CommitCheckpointRequest& wire, const Limits& limits);
absl::StatusOr<MaskReportRequest> FromWire(const v1::ReportMaskRequest& wire, const Limits& limits);
absl::StatusOr<SetKeyQuery> FromWire(const v1::SetKeyRequest& wire, const Limits& limits);
absl::StatusOr<GetKeyQuery> FromWire(const v1::GetKeyRequest& wire, const Limits& limits);
absl::StatusOr<SendLogQuery> FromWire(const v1::SendLogRequest& wire, const Limits& limits);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_FROM_WIRE_H_
