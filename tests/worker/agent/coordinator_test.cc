#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "filigree/v1/agent.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "worker/agent/lease_guard.h"
#include "worker/agent/ranks_service.h"
#include "worker/agent/session.h"

// What speaks to a coordinator, with one that does what a test says.

namespace filigree::agent {
namespace {

class FakeCoordinator final : public v1::Workers::Service {
 public:
  FakeCoordinator() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    stub = v1::Workers::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  }
  ~FakeCoordinator() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*, v1::RegisterReply* reply) override {
    reply->set_incarnation(1);
    reply->set_epoch(1);
    reply->set_lease_us(60'000'000);
    reply->set_heartbeat_us(20'000);
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatReply* reply) override {
    const std::lock_guard lock(mutex_);
    const bool whole = request->ranks_size() == 1 && request->ranks(0).has_progress();
    changed_.notify_all();
    if (whole && refuses_) {
      ++refused_;
      return {grpc::StatusCode::INVALID_ARGUMENT, "more than is taken"};
    }
    if (whole) ++taken_;
    reply->set_epoch(1);
    reply->set_lease_us(60'000'000);
    return grpc::Status::OK;
  }
  grpc::Status SetKey(grpc::ServerContext*, const v1::SetKeyRequest* request, v1::SetKeyReply*) override {
    std::unique_lock lock(mutex_);
    keys_.push_back(request->value());
    changed_.notify_all();
    if (request->value() == "refused") return {grpc::StatusCode::ALREADY_EXISTS, "it holds another"};
    // The first one is answered late.
    if (keys_.size() == 1) changed_.wait_for(lock, std::chrono::seconds(30), [&] { return keys_.size() > 1; });
    return grpc::Status::OK;
  }

  void Refuse(bool refuses) {
    const std::lock_guard lock(mutex_);
    refuses_ = refuses;
  }
  bool Await(const std::function<bool(const FakeCoordinator&)>& happened) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return happened(*this); });
  }
  // For Await.
  int refused() const { return refused_; }
  int taken() const { return taken_; }
  const std::vector<std::string>& keys() const { return keys_; }

  std::unique_ptr<v1::Workers::Stub> stub;

 private:
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool refuses_ = false;
  int refused_ = 0, taken_ = 0;
  std::vector<std::string> keys_;
};

TEST(Session, SaysOnceThatItsHeartbeatsAreRefusedAndThatTheyAreTakenAgain) {
  FakeCoordinator coordinator;
  coordinator.Refuse(true);
  std::mutex mutex;
  std::vector<std::string> lines;
  SessionHooks hooks;
  hooks.reports = [] {
    v1::RankReport report;
    report.set_job("night-1");
    report.set_generation(1);
    report.mutable_progress()->set_step(7);
    return std::vector<v1::RankReport>{report};
  };
  hooks.begun = hooks.new_epoch = [] {};
  hooks.follow = [](const v1::HeartbeatReply&) {};
  hooks.over = [](const std::string& why) { ADD_FAILURE() << why; };
  hooks.alone = [] { return true; };
  hooks.say = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    lines.push_back(line);
  };
  LeaseGuard guard([] { ADD_FAILURE() << "the lease is over"; });
  Session session({"a", "host-a"}, *coordinator.stub, guard, hooks);
  session.Start();
  EXPECT_TRUE(coordinator.Await([](const FakeCoordinator& fake) { return fake.refused() >= 5; }));
  coordinator.Refuse(false);
  EXPECT_TRUE(coordinator.Await([](const FakeCoordinator& fake) { return fake.taken() >= 3; }));
  session.Stop();
  const auto saying = [&](const std::string& part) {
    return std::count_if(lines.begin(), lines.end(),
                         [&](const std::string& line) { return line.find(part) != std::string::npos; });
  };
  EXPECT_EQ(saying("more than is taken"), 1);
  EXPECT_EQ(saying("whole heartbeats again"), 1);
}

class Keys : public testing::Test {
 protected:
  Keys() {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    RanksHooks hooks;
    hooks.job_of = [](const std::string&, int64_t) { return "night-1"; };
    hooks.speaker = [] { return v1::Speaker(); };
    service_ = std::make_unique<RanksService>(*coordinator.stub, hooks);
    EXPECT_TRUE(service_->Listen(folder_ + "/socket").ok());
    rank_ = v1::Ranks::NewStub(grpc::CreateChannel("unix:" + folder_ + "/socket", grpc::InsecureChannelCredentials()));
  }
  ~Keys() override {
    service_.reset();
    std::filesystem::remove_all(folder_);
  }
  // As a rank.
  grpc::Status Set(const std::string& value) {
    v1::RankSetRequest request;
    request.set_process("p");
    request.set_generation(1);
    request.set_key("k");
    request.set_value(value);
    grpc::ClientContext context;
    v1::SetKeyReply reply;
    return rank_->Set(&context, request, &reply);
  }

  FakeCoordinator coordinator;
  std::unique_ptr<RanksService> service_;

 private:
  std::string folder_ = testing::TempDir() + "keys_XXXXXX";
  std::unique_ptr<v1::Ranks::Stub> rank_;
};

// The coordinator has taken it and is started anew before the answer has come back.
TEST_F(Keys, AreLeftAgainAlsoBeforeTheyAreAnswered) {
  std::future<grpc::Status> answer = std::async(std::launch::async, [&] { return Set("v"); });
  EXPECT_TRUE(coordinator.Await([](const FakeCoordinator& fake) { return fake.keys().size() == 1; }));
  service_->SetKeysAgain();
  EXPECT_TRUE(coordinator.Await([](const FakeCoordinator& fake) { return fake.keys().size() == 2; }));
  EXPECT_TRUE(answer.get().ok());
}

TEST_F(Keys, ThatWereRefusedAreNotLeftAgain) {
  EXPECT_EQ(Set("refused").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  service_->SetKeysAgain();
  EXPECT_TRUE(Set("v").ok());
  service_->SetKeysAgain();
  EXPECT_TRUE(coordinator.Await([](const FakeCoordinator& fake) { return fake.keys().size() == 3; }));
  coordinator.Await([](const FakeCoordinator& fake) {
    EXPECT_EQ(fake.keys(), (std::vector<std::string>{"refused", "v", "v"}));
    return true;
  });
}

}  // namespace
}  // namespace filigree::agent
