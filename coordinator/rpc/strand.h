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

  // `on_tick` is run every `tick`, late rather than twice.
  Strand(size_t capacity, std::chrono::milliseconds tick, Task on_tick);
  ~Strand() { Stop(); }
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  // ResourceExhausted: `capacity` tasks wait already; Unavailable: it is stopped. The task is not run then.
  absl::Status Post(Task task);

  // Runs what was posted, then ends the thread. Idempotent.
  void Stop();

 private:
  void Run();

  const size_t capacity_;
  const std::chrono::milliseconds tick_;
  const Task on_tick_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;  // guarded by mutex_
  bool stopping_ = false;   // guarded by mutex_
  std::thread thread_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_STRAND_H_
