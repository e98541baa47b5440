#ifndef FILIGREE_WORKER_CLIENT_CONNECTION_H_
#define FILIGREE_WORKER_CLIENT_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "filigree/v1/coordinator.grpc.pb.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"

namespace filigree::client {

// A user's way to a coordinator. Calls may be repeated, so each is tried again while the coordinator is not there,
// until `patience` is over: one that is being restarted is not noticed.
//
// Status: the coordinator's own (proto/filigree/v1/coordinator.proto); Unavailable: nobody answers there, with the
// address and what to do. Threads: any.
class Connection {
 public:
  // Nothing is sent yet. Status as rpc::OpenChannel.
  static absl::StatusOr<Connection> Open(const rpc::ChannelOptions& options, std::chrono::milliseconds patience);

  template <typename Request, typename Reply>
  absl::StatusOr<Reply> Call(grpc::Status (v1::Coordinator::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                           Reply*),
                             const Request& request) const {
    const auto end = std::chrono::steady_clock::now() + patience_;
    for (;;) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + Left(end));
      Reply reply;
      const grpc::Status status = (stub_.get()->*method)(&context, request, &reply);
      if (status.ok()) return reply;
      if (!TryAgain(status, end)) return Explained(status);
    }
  }

  v1::Coordinator::Stub& stub() const { return *stub_; }
  std::chrono::milliseconds patience() const { return patience_; }

  // A call's end in words for people.
  absl::Status Explained(const grpc::Status& status) const;

 private:
  Connection(std::string address, std::shared_ptr<grpc::Channel> channel, std::chrono::milliseconds patience);

  static std::chrono::milliseconds Left(std::chrono::steady_clock::time_point end);
  // Waits a little where another try makes sense.
  static bool TryAgain(const grpc::Status& status, std::chrono::steady_clock::time_point end);

  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<v1::Coordinator::Stub> stub_;
  std::chrono::milliseconds patience_;
};

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_CONNECTION_H_
