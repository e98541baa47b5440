#ifndef FILIGREE_WORKER_AGENT_RANKS_SERVICE_H_
#define FILIGREE_WORKER_AGENT_RANKS_SERVICE_H_

#include <grpcpp/server.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "filigree/v1/agent.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "worker/agent/calls.h"
#include "worker/agent/key_memory.h"

namespace filigree::agent {

// What the service asks whoever knows the ranks. From any thread; may ask back Retry.
struct RanksHooks {
  std::function<absl::StatusOr<std::optional<v1::TakeReply>>(const v1::TakeRequest&)> take;
  std::function<absl::StatusOr<v1::TellReply>(const v1::TellRequest&)> tell;
  // The job for which a process speaks, as one of that generation.
  std::function<absl::StatusOr<std::string>(const std::string& process, int64_t generation)> job_of;
  std::function<std::optional<v1::Speaker>()> speaker;  // as whom the coordinator knows us; none: it does not
};

// Service Ranks on a Unix socket. Nothing of it waits in a thread: what waits is kept, and answered when there is
// something to say; what is the coordinator's to answer is passed on as it comes and its answer passed back.
//
// Threads: any.
class RanksService : public v1::Ranks::CallbackService {
 public:
  // `coordinator` outlives this.
  RanksService(v1::Workers::StubInterface& coordinator, RanksHooks hooks);
  ~RanksService() override;

  // Unavailable: the socket cannot be made.
  absl::Status Listen(const std::string& socket);
  // There may be an answer for the process that waits to Take.
  void Retry(const std::string& process);
  // Takes that waited too long hear that there is nothing yet. To be called some times a second.
  void Expire(int64_t now_us);
  // The coordinator was started anew and has lost what ranks left there: leaves it again.
  void SetKeysAgain();
  // Of generations that are over.
  void ForgetKeys(const std::function<bool(const std::string& job, int64_t generation)>& lives);
  void Stop();

  grpc::ServerUnaryReactor* Take(grpc::CallbackServerContext* context, const v1::TakeRequest* request,
                                 v1::TakeReply* reply) override;
  grpc::ServerUnaryReactor* Tell(grpc::CallbackServerContext* context, const v1::TellRequest* request,
                                 v1::TellReply* reply) override;
  grpc::ServerUnaryReactor* Commit(grpc::CallbackServerContext* context, const v1::RankCommitRequest* request,
                                   v1::CommitCheckpointReply* reply) override;
  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext* context, const v1::RankSetRequest* request,
                                v1::SetKeyReply* reply) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::RankGetRequest* request,
                                v1::GetKeyReply* reply) override;

 private:
  struct Waiter {
    const v1::TakeRequest* request = nullptr;
    v1::TakeReply* reply = nullptr;
    grpc::ServerUnaryReactor* reactor = nullptr;
    int64_t until_us = 0;
  };
  // Whom a call is passed on for.
  struct Passing {
    v1::Speaker speaker;
    std::string job;
  };

  absl::StatusOr<Passing> PassingFor(const std::string& process, int64_t generation) const;
  std::optional<Waiter> NextLook(const std::string& process);
  bool PutBack(const std::string& process, const Waiter& waiter);  // false: another one waits by now
  static void Finish(const Waiter& waiter, const absl::StatusOr<std::optional<v1::TakeReply>>& taken);
  // Sends `request` to the coordinator and calls `done` with what it ended in.
  template <typename Request, typename Reply>
  void PassOn(void (v1::Workers::StubInterface::async_interface::*method)(grpc::ClientContext*, const Request*, Reply*,
                                                                          std::function<void(grpc::Status)>),
              Request request, Reply* reply, int64_t deadline_us, std::function<void(grpc::Status)> done);

  v1::Workers::StubInterface& coordinator_;
  const RanksHooks hooks_;
  Calls calls_;
  KeyMemory keys_;
  std::mutex mutex_;
  std::map<std::string, Waiter> waiters_;  // guarded by mutex_; by process, one each
  std::map<std::string, bool> looking_;    // guarded by mutex_; whether to look again
  bool stopped_ = false;                   // guarded by mutex_
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_RANKS_SERVICE_H_
