#include "coordinator/rpc/watch_stream.h"

#include <fmt/format.h>

#include <utility>

#include "proto/rpc/status.h"

namespace filigree::coordinator {

std::shared_ptr<WatchStream> WatchStream::Make(grpc::CallbackServerContext* context, size_t capacity) {
  std::shared_ptr<WatchStream> stream(new WatchStream(context, capacity));
  stream->self_ = stream;
  return stream;
}

bool WatchStream::Push(Message message) {
  const std::lock_guard lock(mutex_);
  if (ended_) return true;
  const bool room = queue_.size() < capacity_;
  if (room) {
    queue_.push_back(std::move(message));
  } else {
    queue_.clear();
    EndLocked(absl::ResourceExhaustedError(fmt::format(
        "{} messages were not read in time and are lost; watch again, it begins with how things are", capacity_)));
  }
  Pump();
  return room;
}

void WatchStream::End(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (!ended_) EndLocked(status);
  Pump();
}

void WatchStream::EndLocked(const absl::Status& status) {
  ended_ = true;
  end_ = status;
}

void WatchStream::Pump() {
  if (writing_ != nullptr || finished_) return;
  if (!queue_.empty()) {
    writing_ = std::move(queue_.front());
    queue_.pop_front();
    StartWrite(writing_.get());
  } else if (ended_) {
    finished_ = true;
    Finish(rpc::ToGrpc(end_));
  }
}

bool WatchStream::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

bool WatchStream::over() const {
  const std::lock_guard lock(mutex_);
  return over_;
}

void WatchStream::CutOff() {
  const std::lock_guard lock(mutex_);
  if (!over_) context_->TryCancel();
}

void WatchStream::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = nullptr;
  if (!ok) {
    queue_.clear();
    if (!ended_) EndLocked(absl::CancelledError("the reader is gone"));
  }
  Pump();
}

void WatchStream::OnCancel() {
  const std::lock_guard lock(mutex_);
  queue_.clear();
  if (!ended_) EndLocked(absl::CancelledError("the reader is gone"));
  Pump();
}

void WatchStream::OnDone() {
  const std::shared_ptr<WatchStream> last = [this] {
    const std::lock_guard lock(mutex_);
    over_ = true;
    return std::exchange(self_, nullptr);
  }();
}

}  // namespace filigree::coordinator
