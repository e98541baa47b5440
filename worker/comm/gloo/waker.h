#ifndef FILIGREE_WORKER_COMM_GLOO_WAKER_H_
#define FILIGREE_WORKER_COMM_GLOO_WAKER_H_

#include <gloo/transport/unbound_buffer.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

// Waits inside of Gloo that end. A buffer's own timeout would close the connections of its whole group, so a thread
// breaks off what has waited for a tick or two, and the waiter looks around: at deadlines, interrupts, other ranks.
//
// Threads: one waits at a time; WakeNow from any.

namespace filigree::comm {

class Waker {
 public:
  Waker();
  ~Waker();
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  // True: an operation on the buffer is complete. False: nothing within a tick or two, or woken. Gloo's exceptions: the
  // connection is gone.
  bool AwaitReceive(gloo::transport::UnboundBuffer& buffer) { return Await(buffer, /*receive=*/true); }
  bool AwaitSend(gloo::transport::UnboundBuffer& buffer) { return Await(buffer, /*receive=*/false); }

  // Ends the wait under way.
  void WakeNow();

 private:
  bool Await(gloo::transport::UnboundBuffer& buffer, bool receive);
  void Watch();
  void BreakOff();

  std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  gloo::transport::UnboundBuffer* waited_for_ = nullptr;
  bool receive_ = false;
  uint64_t waits_ = 0;
  bool asleep_ = false;  // nobody has waited for long
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_WAKER_H_
