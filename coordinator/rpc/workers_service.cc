#include <algorithm>

#include "coordinator/rpc/services.h"
#include "coordinator/rpc/to_wire.h"

namespace filigree::coordinator {
namespace {

// What a heartbeat is answered whose rows cannot be kept: a full disk must not cost a lease, with all that runs there,
// which needs no row. The worker says everything again.
absl::StatusOr<HeartbeatReply> LeaseAlone(const absl::StatusOr<HeartbeatReply>& whole) {
  if (!whole.ok()) return whole.status();
  HeartbeatReply lease;
  lease.epoch = whole->epoch;
  lease.lease_us = whole->lease_us;
  lease.again = true;
  return lease;
}

}  // namespace

grpc::ServerUnaryReactor* WorkersService::Register(grpc::CallbackServerContext* context,
                                                   const v1::RegisterRequest* request, v1::RegisterReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kRegister, context, request, reply,
                [&desk](const RegisterRequest& asked, int64_t, v1::RegisterReply* wire, const auto& done) {
                  const auto made = desk.Settle(desk.core().Register(Desk::Time(), asked));
                  if (made.ok()) ToWire(*made, *wire);
                  done(made.status());
                });
}

grpc::ServerUnaryReactor* WorkersService::Heartbeat(grpc::CallbackServerContext* context,
                                                    const v1::HeartbeatRequest* request, v1::HeartbeatReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kHeartbeat, context, request, reply,
                [&desk](const HeartbeatRequest& beat, int64_t, v1::HeartbeatReply* wire, const auto& done) {
                  const std::string& worker = beat.speaker.worker;
                  auto decision = desk.core().Heartbeat(Desk::Time(), beat);
                  const absl::StatusOr<HeartbeatReply> lease = LeaseAlone(decision.reply);
                  auto made = desk.Settle(std::move(decision), worker);
                  if (!made.ok() && lease.ok()) made = lease;
                  if (made.ok()) {
                    ToWire(*made, *wire);
                    if (!made->again) desk.news().HeardBy(worker);
                  }
                  done(made.status());
                });
}

grpc::ServerUnaryReactor* WorkersService::AwaitNews(grpc::CallbackServerContext* context,
                                                    const v1::AwaitNewsRequest* request, v1::AwaitNewsReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kAwaitNews, context, request, reply,
                [&desk](const AwaitNewsQuery& query, int64_t deadline_us, v1::AwaitNewsReply* wire, const auto& done) {
                  if (absl::Status status = CheckLive(desk.core().tables(), query.speaker); !status.ok())
                    return done(status);
                  // A moment before the caller's deadline: an answer that comes is better than none.
                  const int64_t until_us = std::min(Desk::Time().monotonic_us + query.wait_us, deadline_us - 500'000);
                  desk.news().Await(query.speaker.worker, until_us, [wire, done](bool news) {
                    wire->set_news(news);
                    done(absl::OkStatus());
                  });
                });
}

grpc::ServerUnaryReactor* WorkersService::Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                                v1::LeaveReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kLeave, context, request, reply,
                [&desk](const LeaveRequest& leave, int64_t, v1::LeaveReply*, const auto& done) {
                  done(desk.Settle(desk.core().Leave(Desk::Time(), leave)).status());
                });
}

grpc::ServerUnaryReactor* WorkersService::CommitCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::CommitCheckpointRequest* request,
                                                           v1::CommitCheckpointReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kCommitCheckpoint, context, request, reply,
                [&desk](const CommitRequest& commit, int64_t, v1::CommitCheckpointReply*, const auto& done) {
                  done(desk.Settle(desk.core().Commit(Desk::Time(), commit)).status());
                });
}

grpc::ServerUnaryReactor* WorkersService::ReportMask(grpc::CallbackServerContext* context,
                                                     const v1::ReportMaskRequest* request, v1::ReportMaskReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kReportMask, context, request, reply,
                [&desk](const MaskReportRequest& report, int64_t, v1::ReportMaskReply* wire, const auto& done) {
                  const auto made = desk.Settle(desk.core().ReportMask(Desk::Time(), report));
                  if (made.ok()) ToWire(*made, *wire);
                  done(made.status());
                });
}

grpc::ServerUnaryReactor* WorkersService::SetKey(grpc::CallbackServerContext* context, const v1::SetKeyRequest* request,
                                                 v1::SetKeyReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kSetKey, context, request, reply,
                [&desk](const SetKeyQuery& query, int64_t, v1::SetKeyReply*, const auto& done) {
                  done(desk.keys().Set(desk.core().tables(), query));
                });
}

grpc::ServerUnaryReactor* WorkersService::GetKey(grpc::CallbackServerContext* context, const v1::GetKeyRequest* request,
                                                 v1::GetKeyReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kGetKey, context, request, reply,
                [&desk](const GetKeyQuery& query, int64_t, v1::GetKeyReply* wire, const auto& done) {
                  desk.keys().Get(desk.core().tables(), query, Desk::Time().monotonic_us,
                                  [wire, done](const absl::StatusOr<std::string>& value) {
                                    if (value.ok()) wire->set_value(*value);
                                    done(value.status());
                                  });
                });
}

grpc::ServerUnaryReactor* WorkersService::SendLog(grpc::CallbackServerContext* context,
                                                  const v1::SendLogRequest* request, v1::SendLogReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kSendLog, context, request, reply,
                [&desk](const SendLogQuery& query, int64_t, v1::SendLogReply*, const auto& done) {
                  const absl::Status status = desk.logs().Take(desk.core().tables(), query);
                  desk.log_readers().Publish(query);
                  done(status);
                });
}

}  // namespace filigree::coordinator
