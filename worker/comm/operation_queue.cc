#include "worker/comm/operation_queue.h"

#include <exception>
#include <utility>

namespace filigree::comm {

void Pending::State::Finish(absl::Status result) {
  const std::lock_guard lock(mutex);
  status = std::move(result);
  done = true;
  over.notify_all();
}

absl::Status Pending::Wait() {
  if (state_ == nullptr) return absl::OkStatus();
  std::unique_lock lock(state_->mutex);
  state_->over.wait(lock, [&] { return state_->done; });
  return state_->status;
}

bool Pending::Done() const {
  if (state_ == nullptr) return true;
  const std::lock_guard lock(state_->mutex);
  return state_->done;
}

OperationQueue::OperationQueue(std::unique_ptr<Transport> transport, std::chrono::milliseconds deadline)
    : transport_(std::move(transport)), deadline_(deadline) {}

OperationQueue::~OperationQueue() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return queue_.empty() && !running_; });
  }
  if (worker_.joinable()) worker_.join();
}

Pending OperationQueue::Submit(Operation operation) {
  auto state = std::make_shared<Pending::State>();
  operation.state = state;
  std::unique_lock lock(mutex_);
  operation.call.number = ++number_;
  if (!broken_.ok()) {
    state->Finish(broken_);
  } else if (transport_->size() == 1 && queue_.empty() && !running_) {
    running_ = true;
    state->Finish(Execute(operation, lock));
  } else {
    queue_.push_back(std::move(operation));
    if (!worker_.joinable()) worker_ = std::thread([this] { Work(); });
    changed_.notify_all();
  }
  return Pending(std::move(state));
}

absl::Status OperationQueue::Run(Operation operation) {
  {
    std::unique_lock lock(mutex_);
    if (!broken_.ok()) return broken_;
    if (queue_.empty() && !running_) {
      operation.call.number = ++number_;
      running_ = true;
      return Execute(operation, lock);
    }
  }
  return Submit(std::move(operation)).Wait();
}

void OperationQueue::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return (!queue_.empty() && !running_) || (queue_.empty() && stopping_); });
    if (queue_.empty()) return;
    Operation operation = std::move(queue_.front());
    queue_.pop_front();
    running_ = true;
    operation.state->Finish(Execute(operation, lock));
  }
}

// An exception goes on to the caller of this thread; to all others the communicator is broken.
absl::Status OperationQueue::RunBody(Operation& operation, Rounds& rounds, std::unique_lock<std::mutex>& lock) {
  try {
    return operation.body(rounds);
  } catch (const std::exception& error) {
    lock.lock();
    Break(absl::InternalError(error.what()), lock);
    running_ = false;
    changed_.notify_all();
    throw;
  }
}

absl::Status OperationQueue::Execute(Operation& operation, std::unique_lock<std::mutex>& lock) {
  absl::Status status = broken_;
  if (status.ok()) {
    lock.unlock();
    Call& call = operation.call;
    Rounds rounds(transport_.get(), &call, std::chrono::steady_clock::now() + deadline(), &scratch_);
    if (operation.refused.ok()) {
      status = RunBody(operation, rounds, lock);
    } else {
      call.refusal = std::string(operation.refused.message());
      rounds.First({}, {}).IgnoreError();
      status = operation.refused;
    }
    lock.lock();
    traffic_ += rounds.traffic();
    ++traffic_.operations;
    if (!status.ok() || !broken_.ok()) {
      Break(std::move(status), lock);
      status = broken_;
    }
  }
  running_ = false;
  changed_.notify_all();
  return status;
}

// The first reason stands; whoever has the transport tells the others.
void OperationQueue::Break(absl::Status why, std::unique_lock<std::mutex>& lock) {
  if (broken_.ok()) broken_ = std::move(why);
  std::deque<Operation> dropped = std::exchange(queue_, {});
  for (Operation& operation : dropped) operation.state->Finish(broken_);
  const absl::Status reason = broken_;
  lock.unlock();
  transport_->Leave(reason);
  lock.lock();
}

void OperationQueue::Abort(absl::Status why) {
  if (why.ok()) why = absl::CancelledError("the communicator was aborted");
  std::unique_lock lock(mutex_);
  if (!broken_.ok()) return;
  if (running_) {
    broken_ = std::move(why);
    transport_->Interrupt();
    return;
  }
  running_ = true;
  Break(std::move(why), lock);
  running_ = false;
  changed_.notify_all();
}

absl::Status OperationQueue::broken() const {
  const std::lock_guard lock(mutex_);
  return broken_;
}

Traffic OperationQueue::traffic() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

}  // namespace filigree::comm
