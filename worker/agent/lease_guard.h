#ifndef FILIGREE_WORKER_AGENT_LEASE_GUARD_H_
#define FILIGREE_WORKER_AGENT_LEASE_GUARD_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace filigree::agent {

// Microseconds of a clock that goes on while the machine sleeps and that nobody sets.
int64_t NowUs();

// Ends the ranks when the worker's lease is over, whatever else this process is waiting for: a thread that does only
// that. A lease that is over stays over until a new registration begins another, even where an answer that would have
// renewed it comes late, or the whole process slept past its end.
//
// Threads: any.
class LeaseGuard {
 public:
  using Clock = std::function<int64_t()>;

  // `on_over` is called once for every lease that runs out, from whoever notices first, and must not wait for anything.
  explicit LeaseGuard(std::function<void()> on_over, Clock clock = NowUs);
  ~LeaseGuard();  // no lease, no call
  LeaseGuard(const LeaseGuard&) = delete;
  LeaseGuard& operator=(const LeaseGuard&) = delete;

  // A registration begins a lease; false: it is over already, and was called so.
  bool Begin(int64_t until_us);
  // An answered heartbeat renews it, until earlier than before where a coordinator that was started anew gives shorter
  // leases; false: it is over, as above.
  bool Renew(int64_t until_us);
  // Whether ranks may run.
  bool Holds();
  // How long they may, if it is not renewed; 0: they may not.
  int64_t LeftUs();
  // The lease was given back or taken away: nothing is called for it.
  void End();

 private:
  enum class State : uint8_t { kNone, kHeld, kOver };

  bool CheckHeld();  // under mutex_; calls on_over_ where it has just ended
  void Watch();

  const std::function<void()> on_over_;
  const Clock clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  State state_ = State::kNone;  // guarded by mutex_
  int64_t until_us_ = 0;        // guarded by mutex_
  bool stopping_ = false;       // guarded by mutex_
  std::thread thread_;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_LEASE_GUARD_H_
