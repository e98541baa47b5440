#include "worker/comm/gloo/waker.h"

#include <chrono>

namespace filigree::comm {
namespace {

constexpr auto kTick = std::chrono::milliseconds(5);
constexpr int kTicksAwake = 100;  // without a wait, before the thread sleeps
constexpr auto kForEver = std::chrono::hours(100);

}  // namespace

Waker::Waker() : thread_([this] { Watch(); }) {}

Waker::~Waker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool Waker::Await(gloo::transport::UnboundBuffer& buffer, bool receive) {
  {
    const std::lock_guard lock(mutex_);
    waited_for_ = &buffer;
    receive_ = receive;
    ++waits_;
    if (asleep_) changed_.notify_all();
  }
  struct Over {
    Waker& waker;
    ~Over() {
      const std::lock_guard lock(waker.mutex_);
      waker.waited_for_ = nullptr;
    }
  };
  const Over over{*this};
  return receive ? buffer.waitRecv(nullptr, kForEver) : buffer.waitSend(nullptr, kForEver);
}

void Waker::BreakOff() {
  if (waited_for_ == nullptr) return;
  if (receive_) {
    waited_for_->abortWaitRecv();
  } else {
    waited_for_->abortWaitSend();
  }
}

void Waker::WakeNow() {
  const std::lock_guard lock(mutex_);
  BreakOff();
}

void Waker::Watch() {
  std::unique_lock lock(mutex_);
  int idle = 0;
  while (!stopping_) {
    if (waited_for_ == nullptr && ++idle > kTicksAwake) {
      asleep_ = true;
      changed_.wait(lock, [&] { return stopping_ || waited_for_ != nullptr; });
      asleep_ = false;
    }
    if (waited_for_ != nullptr) idle = 0;
    const uint64_t seen = waits_;
    changed_.wait_for(lock, kTick, [&] { return stopping_; });
    if (waits_ == seen) BreakOff();
  }
}

}  // namespace filigree::comm
