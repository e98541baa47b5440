#ifndef FILIGREE_COORDINATOR_RPC_STRAND_H_
#define FILIGREE_COORDINATOR_RPC_STRAND_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"

namespace filigree::coordinator {

// One thread that does one thing after another, in the order in which they were posted, and something else in between
// at regular times: all that touches the core is done here, so nothing of it needs a lock.
//
// Threads: Post and Stop from any, though Stop not from the strand itself.
class Strand {
 public:
  using Task = std::function<void()>;

  struct Capacity {
    size_t tasks = 0, bytes = 0;
  };
  // `on_tick` is run every `tick`, late rather than twice.
  Strand(Capacity capacity, std::chrono::milliseconds tick, Task on_tick);
  ~Strand() { Stop(); }
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  // bytes: what the task holds. ResourceExhausted: `capacity` waits already; Unavailable: it is stopped. The task is
  // not run then.
  absl::Status Post(Task task, size_t bytes = 0);

  // Runs what was posted, then ends the thread. Idempotent.
  void Stop();

 private:
  void Run();

  struct Waiting {
    Task task;
    size_t bytes;
  };

  const Capacity capacity_;
  const std::chrono::milliseconds tick_;
  const Task on_tick_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Waiting> tasks_;       // guarded by mutex_
  size_t waiting_ = 0, bytes_ = 0;  // guarded by mutex_: not begun yet, of tasks_ and of what Run has taken
  bool stopping_ = false;           // guarded by mutex_
  std::thread thread_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_STRAND_H_
