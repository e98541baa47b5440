#ifndef FILIGREE_TESTS_COORDINATOR_RPC_RIG_H_
#define FILIGREE_TESTS_COORDINATOR_RPC_RIG_H_

#include <grpc/grpc.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "coordinator/rpc/server.h"
#include "filigree/v1/coordinator.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"
#include "tests/support/patience.h"

namespace filigree::coordinator {

inline constexpr char kDigest[] = "0123456789abcdef";

// Rows kept in this process: a journal that a test can fill up and read again.
class MemoryJournal {
 public:
  Keep keep() {
    return [this](const Changes& rows) -> absl::Status {
      if (full) return absl::ResourceExhaustedError("disk full");
      const std::lock_guard lock(mutex_);
      tables_.Apply(rows);
      return absl::OkStatus();
    };
  }
  Tables tables() {
    const std::lock_guard lock(mutex_);
    return tables_;
  }
  std::atomic<bool> full = false;

 private:
  std::mutex mutex_;
  Tables tables_;
};

inline ServerOptions OnLoopback() {
  ServerOptions options;
  options.address = "127.0.0.1:0";
  options.tick = std::chrono::milliseconds(20);
  return options;
}

// A client of a coordinator.
class Peer {
 public:
  // gRPC stays up between tests: its threads can take seconds to end.
  Peer() {
    static const bool kUp = (grpc_init(), true);
    (void)kUp;
  }

  void Connect(const rpc::ChannelOptions& client) {
    auto opened = rpc::OpenChannel(client);
    ASSERT_TRUE(opened.ok()) << opened.status();
    Take(*std::move(opened));
  }
  // As a client of another make would, which does not look at what it shows.
  void ConnectUnchecked(const rpc::ChannelOptions& client) {
    const auto ca = rpc::ReadCredentialFile(client.ca, false), key = rpc::ReadCredentialFile(client.key, true);
    const auto certificate = rpc::ReadCredentialFile(client.certificate, false);
    ASSERT_TRUE(ca.ok() && key.ok() && certificate.ok());
    Take(grpc::CreateChannel(client.address, grpc::SslCredentials({*ca, *key, *certificate})));
  }
  void Take(std::shared_ptr<grpc::Channel> to) {
    channel = std::move(to);
    users = v1::Coordinator::NewStub(channel);
    workers = v1::Workers::NewStub(channel);
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Coordinator::Stub> users;
  std::unique_ptr<v1::Workers::Stub> workers;
};

// A server of this process and a client beside it.
class Rig : public Peer {
 public:
  explicit Rig(ServerOptions options = OnLoopback(), rpc::ChannelOptions client = {}) : options_(std::move(options)) {
    Start();
    client.address = server->address();
    Connect(client);
  }

  void Start() {
    auto started = Server::Start(options_, journal.tables(), journal.keep());
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
  }
  // The process is gone and another one reads the journal, on the same port.
  void Restart() {
    Stop();
    Start();
  }
  // Nobody answers until Start.
  void Stop() {
    options_.address = server->address();
    server.reset();
  }
  MemoryJournal journal;
  std::unique_ptr<Server> server;

 private:
  ServerOptions options_;
};

// One call: `method` of `stub`, its reply or what it ended in.
template <typename Reply, typename Stub, typename Request>
absl::StatusOr<Reply> Call(const std::unique_ptr<Stub>& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                           const Request& request,
                           std::chrono::milliseconds deadline = Patience(std::chrono::seconds(20))) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  context.set_wait_for_ready(true);
  Reply reply;
  const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
  if (!status.ok()) return rpc::FromGrpc(status);
  return reply;
}

inline bool Says(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  return status.code() == code && std::string(status.message()).find(part) != std::string::npos;
}

// Whether `true` comes within 20 s, or more under a sanitizer.
inline bool Eventually(const std::function<bool()>& is) {
  for (const auto end = std::chrono::steady_clock::now() + Patience(std::chrono::seconds(20));
       std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(5)))
    if (is()) return true;
  return false;
}

inline v1::SubmitRequest Job(const std::string& name, int32_t data = 1) {
  v1::SubmitRequest request;
  request.mutable_spec()->set_name(name);
  request.mutable_spec()->set_data(data);
  return request;
}

// A worker as it looks from outside: registers, and heartbeats when the test says so. Its ranks run as soon as they are
// told to.
class FakeWorker {
 public:
  FakeWorker(Peer& peer, const std::string& name, int32_t slots, const std::string& nonce = "nonce") : peer_(peer) {
    v1::RegisterRequest request;
    request.set_name(name);
    request.set_host("host-" + name);
    request.set_slots(slots);
    request.set_nonce(nonce);
    const auto reply = Call(peer_.workers, &v1::Workers::Stub::Register, request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    if (!reply.ok()) return;
    beat.mutable_speaker()->set_worker(name);
    beat.mutable_speaker()->set_incarnation(reply->incarnation());
    beat.set_epoch(reply->epoch());
  }

  const v1::Speaker& speaker() const { return beat.speaker(); }

  absl::StatusOr<v1::HeartbeatReply> Beat() {
    beat.set_sequence(beat.sequence() + 1);
    auto reply = Call(peer_.workers, &v1::Workers::Stub::Heartbeat, beat);
    if (!reply.ok()) return reply;
    beat.set_epoch(reply->epoch());
    if (reply->again()) return Beat();
    for (const v1::Assignment& assignment : reply->assignments()) Follow(assignment);
    return reply;
  }

  // Reports of the job's ranks here, to be changed by the test.
  std::vector<v1::RankReport*> Ranks(const std::string& job) {
    std::vector<v1::RankReport*> ranks;
    for (v1::RankReport& report : *beat.mutable_ranks())
      if (report.job() == job) ranks.push_back(&report);
    return ranks;
  }

  v1::HeartbeatRequest beat;  // what it will send next
  int starts = 0;             // ranks it was told to start

 private:
  void Follow(const v1::Assignment& assignment) {
    bool known = false;
    for (v1::RankReport* report : Ranks(assignment.job())) {
      if (report->generation() != assignment.generation()) continue;
      known = true;
      if (assignment.action() != v1::ACTION_RUN && report->state() == v1::RANK_STATE_RUNNING)
        report->set_state(v1::RANK_STATE_STOPPED);
    }
    if (known || assignment.action() != v1::ACTION_RUN) return;
    for (const int32_t rank : assignment.ranks()) {
      v1::RankReport& report = *beat.add_ranks();
      report.set_job(assignment.job());
      report.set_generation(assignment.generation());
      report.set_rank(rank);
      report.set_state(v1::RANK_STATE_RUNNING);
      ++starts;
    }
  }

  Peer& peer_;
};

// One call of a method with these bytes for a message, whatever they are.
inline grpc::Status SendBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                              const std::string& bytes) {
  grpc::GenericStub generic(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer reply;
  grpc::Status status;
  const auto call = generic.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) continue;
  return status;
}

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_RPC_RIG_H_
