#include "worker/agent/lease_guard.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

namespace filigree::agent {

int64_t NowUs() {
  timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

LeaseGuard::LeaseGuard(std::function<void()> on_over, Clock clock)
    : on_over_(std::move(on_over)), clock_(std::move(clock)), thread_([this] { Watch(); }) {}

LeaseGuard::~LeaseGuard() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    state_ = State::kNone;
  }
  wake_.notify_all();
  thread_.join();
}

// Under the lock, so that nobody takes the lease for held while the ranks are being ended.
bool LeaseGuard::CheckHeld() {
  if (state_ != State::kHeld) return false;
  if (clock_() < until_us_) return true;
  state_ = State::kOver;
  on_over_();
  return false;
}

bool LeaseGuard::Begin(int64_t until_us) {
  const std::lock_guard lock(mutex_);
  state_ = State::kHeld;
  until_us_ = until_us;
  wake_.notify_all();
  return CheckHeld();
}

bool LeaseGuard::Renew(int64_t until_us) {
  const std::lock_guard lock(mutex_);
  if (!CheckHeld()) return false;
  until_us_ = until_us;
  return CheckHeld();
}

bool LeaseGuard::Holds() {
  const std::lock_guard lock(mutex_);
  return CheckHeld();
}

int64_t LeaseGuard::LeftUs() {
  const std::lock_guard lock(mutex_);
  return CheckHeld() ? std::max<int64_t>(until_us_ - clock_(), 0) : 0;
}

void LeaseGuard::End() {
  const std::lock_guard lock(mutex_);
  state_ = State::kNone;
}

void LeaseGuard::Watch() {
  // Waiting goes by a clock that may stand still while the machine sleeps, so it is looked at often.
  constexpr int64_t kLongestWaitUs = 100'000;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (!CheckHeld()) {
      wake_.wait(lock, [this] { return stopping_ || state_ == State::kHeld; });
      continue;
    }
    const int64_t wait_us = std::clamp<int64_t>(until_us_ - clock_(), 1000, kLongestWaitUs);
    wake_.wait_for(lock, std::chrono::microseconds(wait_us));
  }
}

}  // namespace filigree::agent
