#ifndef FILIGREE_WORKER_COMM_OPERATION_QUEUE_H_
#define FILIGREE_WORKER_COMM_OPERATION_QUEUE_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "worker/comm/call.h"
#include "worker/comm/communicator.h"
#include "worker/comm/rounds.h"
#include "worker/comm/transport.h"

// The operations of one communicator, which run one after another in the order of their calls: on a thread of its own,
// or on the caller's where nothing is under way.

namespace filigree::comm {

struct Pending::State {
  mutable std::mutex mutex;
  std::condition_variable over;
  bool done = false;  // guarded by mutex, as is
  absl::Status status;

  void Finish(absl::Status result);
};

struct Operation {
  Call call;
  absl::Status refused;  // why this rank cannot take part; the others are told
  std::function<absl::Status(Rounds&)> body;
  std::shared_ptr<Pending::State> state = nullptr;
};

class OperationQueue {
 public:
  OperationQueue(std::unique_ptr<Transport> transport, std::chrono::milliseconds deadline);
  // Waits for the operations under way, each of which has a deadline.
  ~OperationQueue();

  const Transport& transport() const { return *transport_; }
  std::chrono::milliseconds deadline() const { return deadline_.load(); }
  void SetDeadline(std::chrono::milliseconds deadline) { deadline_ = deadline; }

  Pending Submit(Operation operation);
  absl::Status Run(Operation operation);
  void Abort(absl::Status why);
  absl::Status broken() const;
  Traffic traffic() const;

 private:
  void Work();
  // Runs it on this thread, which has set running_, with lock held before and after.
  absl::Status Execute(Operation& operation, std::unique_lock<std::mutex>& lock);
  absl::Status RunBody(Operation& operation, Rounds& rounds, std::unique_lock<std::mutex>& lock);
  void Break(absl::Status why, std::unique_lock<std::mutex>& lock);

  const std::unique_ptr<Transport> transport_;
  std::atomic<std::chrono::milliseconds> deadline_;
  Scratch scratch_;  // of the thread that has set running_

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  std::deque<Operation> queue_;
  bool running_ = false;  // a thread has the transport
  bool stopping_ = false;
  uint64_t number_ = 0;
  absl::Status broken_;
  Traffic traffic_;
  std::thread worker_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_OPERATION_QUEUE_H_
