#include "coordinator/rpc/strand.h"

#include <utility>

namespace filigree::coordinator {

Strand::Strand(Capacity capacity, std::chrono::milliseconds tick, Task on_tick)
    : capacity_(capacity), tick_(tick), on_tick_(std::move(on_tick)), thread_([this] { Run(); }) {}

absl::Status Strand::Post(Task task, size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return absl::UnavailableError("the coordinator is stopping; try again when it has been started anew");
  // One that alone is too large has its turn when nothing else waits.
  if (waiting_ >= capacity_.tasks || (bytes_ > 0 && bytes > 0 && bytes_ + bytes > capacity_.bytes))
    return absl::ResourceExhaustedError("too many calls wait for the coordinator; try again in a second");
  tasks_.push_back({std::move(task), bytes});
  ++waiting_;
  bytes_ += bytes;
  if (tasks_.size() == 1) wake_.notify_one();  // else it is awake, or about to be
  return absl::OkStatus();
}

void Strand::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Strand::Run() {
  auto next_tick = std::chrono::steady_clock::now() + tick_;
  std::deque<Waiting> batch;  // all that waited: one lock for many tasks
  for (;;) {
    if (batch.empty()) {
      std::unique_lock lock(mutex_);
      wake_.wait_until(lock, next_tick, [&] { return stopping_ || !tasks_.empty(); });
      if (stopping_ && tasks_.empty()) return;
      batch.swap(tasks_);
    }
    // A tick that is due goes first: leases run out however busy the strand is.
    if (std::chrono::steady_clock::now() >= next_tick) {
      on_tick_();
      next_tick = std::chrono::steady_clock::now() + tick_;
    }
    if (batch.empty()) continue;
    {
      const std::lock_guard lock(mutex_);
      --waiting_;
      bytes_ -= batch.front().bytes;
    }
    batch.front().task();
    batch.pop_front();
  }
}

}  // namespace filigree::coordinator
