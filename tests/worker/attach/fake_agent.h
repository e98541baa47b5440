#ifndef FILIGREE_TESTS_WORKER_ATTACH_FAKE_AGENT_H_
#define FILIGREE_TESTS_WORKER_ATTACH_FAKE_AGENT_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "filigree/v1/agent.grpc.pb.h"

// The agent's side of proto/filigree/v1/agent.proto, which does what a test says.

namespace filigree::attach {

class FakeAgent final : public v1::Ranks::Service {
 public:
  FakeAgent() {
    std::string name = testing::TempDir() + "/agentXXXXXX";
    folder_ = ::mkdtemp(name.data());
    Start();
  }
  ~FakeAgent() override {
    Stop();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // As an agent that was killed.
  void Stop() {
    if (server_ == nullptr) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    server_->Shutdown(std::chrono::system_clock::now());
    server_ = nullptr;
  }

  std::string path() const { return folder_ + "/socket"; }
  const std::string& folder() const { return folder_; }

  // As an agent that is stopped: nothing that is told is answered any more.
  void Freeze() {
    const std::lock_guard lock(mutex_);
    frozen_ = true;
  }

  // What a process is to be next; it goes on from the last commit.
  void Give(const std::string& process, int64_t generation, int rank, int data, int tensor = 1,
            const std::function<void(v1::Part&)>& more = nullptr) {
    v1::TakeReply reply;
    v1::Part& part = *reply.mutable_part();
    part.set_job("night-1");
    part.set_generation(generation);
    part.set_rank(rank);
    part.set_data(data);
    part.set_tensor(tensor);
    if (const std::vector<v1::CommitPoint> all = commits(); !all.empty()) *part.mutable_resume() = all.back();
    if (more) more(part);
    Answer(process, reply);
  }
  void TellOver(const std::string& process) {
    v1::TakeReply reply;
    reply.set_over(true);
    Answer(process, reply);
  }
  // What it is told from now on about that generation.
  void Direct(const std::string& process, int64_t generation, v1::Directive directive, bool keep) {
    const std::lock_guard lock(mutex_);
    v1::TellReply& reply = directives_[{process, generation}];
    reply.set_directive(directive);
    reply.set_keep(keep);
  }
  // What its lease is said to have left; `answering`: is called when it is said, with the agent's lock held.
  void Lease(int64_t left_us, std::function<void()> answering = nullptr) {
    const std::lock_guard lock(mutex_);
    lease_left_us_ = left_us;
    answering_ = std::move(answering);
  }
  void Refuse(const std::string& process, int64_t generation, grpc::StatusCode code) {
    const std::lock_guard lock(mutex_);
    refusals_[{process, generation}] = code;
  }
  // How commits are answered; empty: all of them are OK.
  std::function<grpc::Status(const v1::CommitPoint& point, int attempt)> on_commit;

  // Waits for a message of that process which pleases; nothing within 60 s fails the test.
  v1::TellRequest AwaitTell(const std::string& process, const std::function<bool(const v1::TellRequest&)>& pleases) {
    return AwaitOne(tells_, process, pleases);
  }
  v1::TakeRequest AwaitTake(const std::string& process, int64_t after) {
    return AwaitOne(takes_, process, [after](const v1::TakeRequest& take) { return take.after() == after; });
  }
  std::vector<v1::TellRequest> tells(const std::string& process) {
    const std::lock_guard lock(mutex_);
    return tells_[process];
  }
  std::vector<v1::CommitPoint> commits() {
    const std::lock_guard lock(mutex_);
    return commits_;
  }
  // As a coordinator that is started anew: who waits for a key hears of it.
  void ForgetKeys() {
    const std::lock_guard lock(mutex_);
    keys_.clear();
    ++epoch_;
    changed_.notify_all();
  }
  // Waits until a rank has left a key and waits for another's.
  void AwaitMeeting() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !keys_.empty() && waiting_ > 0; }));
  }

  grpc::Status Take(grpc::ServerContext* /*context*/, const v1::TakeRequest* request, v1::TakeReply* reply) override {
    std::unique_lock lock(mutex_);
    takes_[request->process()].push_back(*request);
    changed_.notify_all();
    std::optional<v1::TakeReply>& answer = answers_[request->process()];
    changed_.wait_for(lock, std::chrono::microseconds(request->wait_us()), [&] { return answer || stopping_; });
    if (answer) *reply = *std::exchange(answer, std::nullopt);
    return grpc::Status::OK;
  }
  grpc::Status Tell(grpc::ServerContext* /*context*/, const v1::TellRequest* request, v1::TellReply* reply) override {
    std::unique_lock lock(mutex_);
    const std::pair<std::string, int64_t> key = {request->process(), request->generation()};
    changed_.wait(lock, [&] { return !frozen_ || stopping_; });
    tells_[request->process()].push_back(*request);
    changed_.notify_all();
    if (const auto refused = refusals_.find(key); refused != refusals_.end()) return {refused->second, "refused"};
    reply->set_directive(v1::DIRECTIVE_GO_ON);
    if (const auto told = directives_.find(key); told != directives_.end()) *reply = told->second;
    if (lease_left_us_) reply->set_lease_left_us(*lease_left_us_);
    if (answering_) answering_();
    return grpc::Status::OK;
  }
  grpc::Status Commit(grpc::ServerContext* /*context*/, const v1::RankCommitRequest* request,
                      v1::CommitCheckpointReply* /*reply*/) override {
    const std::lock_guard lock(mutex_);
    grpc::Status status = on_commit ? on_commit(request->point(), attempts_++) : grpc::Status::OK;
    if (status.ok()) commits_.push_back(request->point());
    return status;
  }
  grpc::Status Set(grpc::ServerContext* /*context*/, const v1::RankSetRequest* request,
                   v1::SetKeyReply* /*reply*/) override {
    const std::lock_guard lock(mutex_);
    const auto [place, added] = keys_.emplace(std::pair(request->generation(), request->key()), request->value());
    changed_.notify_all();
    if (!added && place->second != request->value()) return {grpc::StatusCode::ALREADY_EXISTS, "it holds another"};
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext* /*context*/, const v1::RankGetRequest* request,
                   v1::GetKeyReply* reply) override {
    std::unique_lock lock(mutex_);
    const int epoch = epoch_;
    ++waiting_;
    changed_.notify_all();
    const std::pair<int64_t, std::string> key(request->generation(), request->key());
    changed_.wait_for(lock, std::chrono::microseconds(request->wait_us()),
                      [&] { return keys_.contains(key) || stopping_ || epoch != epoch_; });
    --waiting_;
    if (epoch != epoch_) return {grpc::StatusCode::UNAVAILABLE, "the coordinator is gone"};
    if (!keys_.contains(key)) return {grpc::StatusCode::DEADLINE_EXCEEDED, "not set"};
    reply->set_value(keys_[key]);
    return grpc::Status::OK;
  }

 private:
  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path(), grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  void Answer(const std::string& process, const v1::TakeReply& reply) {
    const std::lock_guard lock(mutex_);
    answers_[process] = reply;
    changed_.notify_all();
  }
  template <typename Message, typename Pleases>
  Message AwaitOne(std::map<std::string, std::vector<Message>>& heard, const std::string& process,
                   const Pleases& pleases) {
    std::unique_lock lock(mutex_);
    const std::vector<Message>& messages = heard[process];
    size_t seen = 0;
    bool found = false;
    const bool came = changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      while (!found && seen < messages.size()) found = pleases(messages[seen++]);
      return found;
    });
    EXPECT_TRUE(came) << "no such word of " << process;
    return came ? messages[seen - 1] : Message();
  }

  std::string folder_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, frozen_ = false;
  std::optional<int64_t> lease_left_us_;
  std::function<void()> answering_;
  int attempts_ = 0, epoch_ = 0, waiting_ = 0;
  std::map<std::string, std::optional<v1::TakeReply>> answers_;
  std::map<std::pair<std::string, int64_t>, v1::TellReply> directives_;
  std::map<std::pair<std::string, int64_t>, grpc::StatusCode> refusals_;
  std::map<std::string, std::vector<v1::TakeRequest>> takes_;
  std::map<std::string, std::vector<v1::TellRequest>> tells_;
  std::map<std::pair<int64_t, std::string>, std::string> keys_;
  std::vector<v1::CommitPoint> commits_;
};

}  // namespace filigree::attach

#endif  // FILIGREE_TESTS_WORKER_ATTACH_FAKE_AGENT_H_
