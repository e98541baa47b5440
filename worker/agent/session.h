#ifndef FILIGREE_WORKER_AGENT_SESSION_H_
#define FILIGREE_WORKER_AGENT_SESSION_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "worker/agent/calls.h"
#include "worker/agent/complaint.h"
#include "worker/agent/lease_guard.h"

namespace filigree::agent {

// How a worker shows itself.
struct WorkerFacts {
  std::string name, host;
  int32_t slots = 1;
  std::chrono::microseconds timeout{5'000'000};  // of registering and leaving
};

// What a session asks and tells. From its own thread.
struct SessionHooks {
  std::function<std::vector<v1::RankReport>()> reports;
  std::function<void()> begun;                            // a lease is there: ranks may be started
  std::function<void(const v1::HeartbeatReply&)> follow;  // never for an answer that came when the lease was over
  std::function<void(const std::string& why)> over;       // this incarnation may run nothing any more
  std::function<bool()> alone;                            // no process of a rank is left
  std::function<void()> new_epoch;                        // the coordinator was started anew
  std::function<void(const std::string& text)> say;
};

// Keeps a worker registered: registers, heartbeats, and registers anew once its ranks are gone where its incarnation is
// over. While the coordinator is away it tries on for ever; the lease guard sees to the ranks.
//
// Threads: two of its own. The public methods from any.
class Session {
 public:
  using Stub = v1::Workers::StubInterface;

  Session(WorkerFacts facts, Stub& stub, LeaseGuard& guard, SessionHooks hooks);
  ~Session() { Stop(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Start();
  // A heartbeat now is worth while.
  void Wake();
  // Every heartbeat from now on says that the worker is about to leave, and the coordinator drains it.
  void Drain();
  // Ends the threads. Then says that the worker leaves, where it is registered. Idempotent.
  void Stop();

  std::optional<v1::Speaker> speaker() const;  // none: not registered
  // Whether a heartbeat that said so has been answered.
  bool drain_heard() const { return drain_heard_; }
  // When the last heartbeat was sent whose reports were looked at; 0: none was.
  int64_t heard_us() const { return heard_us_; }
  // Not OK: the coordinator will never take this worker as it is; it is not tried again.
  absl::Status refused() const;

 private:
  void Run();
  void ListenForNews();
  bool Register();
  void Heartbeats();
  absl::Status Heartbeat(int64_t sequence, bool bare);
  void Obey(int64_t sent_us, const v1::HeartbeatReply& reply);
  v1::HeartbeatRequest NextHeartbeat(int64_t sequence, bool bare);
  void Pause(int64_t us);  // at most; less where woken or stopped
  void SayOnce(const std::string& text);
  bool stopping() const;

  const WorkerFacts facts_;
  Stub& stub_;
  LeaseGuard& guard_;
  const SessionHooks hooks_;
  Calls calls_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false;                  // guarded by mutex_
  bool stopping_ = false;               // guarded by mutex_
  std::optional<v1::Speaker> speaker_;  // guarded by mutex_
  absl::Status refused_;                // guarded by mutex_
  std::atomic<bool> draining_ = false, drain_heard_ = false;
  std::atomic<int64_t> heard_us_ = 0;

  // Of the session's thread.
  std::string nonce_, replaces_, said_, lost_why_;
  Complaint refusal_;  // of whole heartbeats
  int64_t epoch_ = 0, lease_us_ = 0, heartbeat_us_ = 0;
  bool again_ = false, hurry_ = false;  // the coordinator has kept nothing of what was said; it would at once
  std::map<std::string, std::string> figures_sent_;  // of a job, as the coordinator has them

  std::thread thread_, news_thread_;
};

// So many random bytes, as hexadecimal digits.
std::string RandomName(size_t bytes);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_SESSION_H_
