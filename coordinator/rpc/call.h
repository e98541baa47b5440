#ifndef FILIGREE_COORDINATOR_RPC_CALL_H_
#define FILIGREE_COORDINATOR_RPC_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/rpc/caller.h"
#include "coordinator/rpc/desk.h"
#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/rpc/strand.h"
#include "proto/rpc/status.h"

// The way of every call: who calls, what the bytes mean, then its turn on the strand.

namespace filigree::coordinator {

// What the services share; it outlives them.
struct Front {
  const Limits& limits;
  Trust trust = Trust::kLoopback;
  const Tokens* tokens = nullptr;  // null: none
  Desk& desk;
  Strand& strand;
};

// When a call is to be answered, on the monotonic clock that no jump of the wall clock moves: as it asked, at most
// `most` from now.
inline int64_t DeadlineOf(const grpc::ServerContextBase& context, std::chrono::seconds most) {
  using std::chrono::microseconds;
  const int64_t most_us = microseconds(most).count();
  int64_t left_us = most_us;
  const auto deadline = context.deadline();
  if (deadline != std::chrono::system_clock::time_point::max())
    left_us = std::chrono::duration_cast<microseconds>(deadline - std::chrono::system_clock::now()).count();
  return Desk::Time().monotonic_us + std::min(left_us, most_us);
}

// The caller, where it may use the method.
inline absl::StatusOr<Caller> Admit(const Front& front, const grpc::ServerContextBase& context, Method method) {
  auto caller = WhoCalls(context, front.trust, front.tokens);
  if (!caller.ok()) return caller;
  if (absl::Status status = CheckRole(*caller, method); !status.ok()) return status;
  return caller;
}

// Whose name a request uses, where it is a worker's; else null.
inline const std::string* SpeakerIn(const RegisterRequest& request) { return &request.name; }
inline const std::string* SpeakerIn(const SetKeyQuery& query) { return &query.key.speaker.worker; }
inline const std::string* SpeakerIn(const GetKeyQuery& query) { return &query.key.speaker.worker; }
template <typename Request>
const std::string* SpeakerIn(const Request& request) {
  if constexpr (requires { request.speaker.worker; })
    return &request.speaker.worker;
  else
    return nullptr;
}

// The request, where its caller may make it.
template <typename WireRequest>
auto AdmitRequest(const Front& front, Method method, const grpc::ServerContextBase& context, const WireRequest& wire)
    -> decltype(FromWire(wire, front.limits)) {
  const auto caller = Admit(front, context, method);
  if (!caller.ok()) return caller.status();
  auto request = FromWire(wire, front.limits);
  if (!request.ok()) return request;
  if (const std::string* speaker = SpeakerIn(*request); speaker != nullptr)
    if (absl::Status status = CheckSpeaksFor(*caller, *speaker); !status.ok()) return status;
  return request;
}

// Answers one call. On the strand `work(request, deadline_us, reply, done)` fills `reply` and calls `done` once, then
// or later on the strand.
template <typename WireRequest, typename WireReply, typename Work>
grpc::ServerUnaryReactor* Answer(const Front& front, Method method, grpc::CallbackServerContext* context,
                                 const WireRequest* wire, WireReply* reply, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); };
  auto request = AdmitRequest(front, method, *context, *wire);
  if (!request.ok()) {
    finish(request.status());
    return reactor;
  }
  const int64_t deadline_us = DeadlineOf(*context, front.limits.deadline);
  const absl::Status posted = front.strand.Post(
      [=, request = *std::move(request)] {
        if (context->IsCancelled() || Desk::Time().monotonic_us > deadline_us)
          return finish(absl::DeadlineExceededError("the call waited longer than its deadline; nothing was done"));
        work(request, deadline_us, reply, finish);
      },
      wire->ByteSizeLong());
  if (!posted.ok()) finish(posted);
  return reactor;
}

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_CALL_H_
