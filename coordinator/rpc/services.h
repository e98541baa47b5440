#ifndef FILIGREE_COORDINATOR_RPC_SERVICES_H_
#define FILIGREE_COORDINATOR_RPC_SERVICES_H_

#include "coordinator/rpc/call.h"
#include "filigree/v1/coordinator.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"

// The two services, method by method. proto/filigree/v1 says what each means.

namespace filigree::coordinator {

class CoordinatorService final : public v1::Coordinator::CallbackService {
 public:
  explicit CoordinatorService(const Front& front) : front_(front) {}

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context, const v1::SubmitRequest* request,
                                   v1::SubmitReply* reply) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::Job* reply) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListRequest* request,
                                 v1::ListReply* reply) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersReply* reply) override;
  grpc::ServerWriteReactor<v1::WatchReply>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::WatchRequest* request) override;
  grpc::ServerWriteReactor<v1::ReadLogReply>* ReadLog(grpc::CallbackServerContext* context,
                                                      const v1::ReadLogRequest* request) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context, const v1::CancelRequest* request,
                                   v1::CancelReply* reply) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                  v1::DrainReply* reply) override;

 private:
  const Front& front_;
};

class WorkersService final : public v1::Workers::CallbackService {
 public:
  explicit WorkersService(const Front& front) : front_(front) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override;
  grpc::ServerUnaryReactor* AwaitNews(grpc::CallbackServerContext* context, const v1::AwaitNewsRequest* request,
                                      v1::AwaitNewsReply* reply) override;
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                  v1::LeaveReply* reply) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(grpc::CallbackServerContext* context,
                                             const v1::CommitCheckpointRequest* request,
                                             v1::CommitCheckpointReply* reply) override;
  grpc::ServerUnaryReactor* ReportMask(grpc::CallbackServerContext* context, const v1::ReportMaskRequest* request,
                                       v1::ReportMaskReply* reply) override;
  grpc::ServerUnaryReactor* SetKey(grpc::CallbackServerContext* context, const v1::SetKeyRequest* request,
                                   v1::SetKeyReply* reply) override;
  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context, const v1::GetKeyRequest* request,
                                   v1::GetKeyReply* reply) override;
  grpc::ServerUnaryReactor* SendLog(grpc::CallbackServerContext* context, const v1::SendLogRequest* request,
                                    v1::SendLogReply* reply) override;

 private:
  const Front& front_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_SERVICES_H_
