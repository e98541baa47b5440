#ifndef FILIGREE_WORKER_AGENT_LOG_SENDER_H_
#define FILIGREE_WORKER_AGENT_LOG_SENDER_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "filigree/v1/workers.grpc.pb.h"
#include "worker/agent/calls.h"
#include "worker/agent/log_book.h"

namespace filigree::agent {

// Sends what ranks print to the coordinator, twice a second where there is something. Nobody waits for it: what cannot
// be sent is tried again until it has dropped out of memory; a coordinator that does not know how to take it is asked
// every 30 s. A thread of its own.
class LogSender {
 public:
  LogSender(LogBook& book, v1::Workers::StubInterface& coordinator,
            std::function<std::optional<v1::Speaker>()> speaker);
  ~LogSender();
  LogSender(const LogSender&) = delete;
  LogSender& operator=(const LogSender&) = delete;

  // Waits until what there is now has been sent, or cannot be, or the time is over.
  void Flush(std::chrono::milliseconds most);

 private:
  void Run();
  bool SendSome();  // false: not now

  LogBook& book_;
  v1::Workers::StubInterface& coordinator_;
  const std::function<std::optional<v1::Speaker>()> speaker_;
  Calls calls_;
  bool silent_ = false;  // of the thread: the coordinator does not take logs
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  bool stopping_ = false;  // guarded by mutex_
  bool asked_ = false;     // guarded by mutex_: for a round at once
  bool waiting_ = false;   // guarded by mutex_: a round is over
  std::thread thread_;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_LOG_SENDER_H_
