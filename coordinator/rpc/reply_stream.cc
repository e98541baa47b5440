#include "coordinator/rpc/reply_stream.h"

#include <fmt/format.h>

#include <utility>

#include "proto/rpc/status.h"

namespace filigree::coordinator {

template <typename Reply>
std::shared_ptr<ReplyStream<Reply>> ReplyStream<Reply>::Make(grpc::CallbackServerContext* context, size_t capacity) {
  std::shared_ptr<ReplyStream> stream(new ReplyStream(context, capacity));
  stream->self_ = stream;
  return stream;
}

template <typename Reply>
bool ReplyStream<Reply>::Push(Message message) {
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

template <typename Reply>
void ReplyStream<Reply>::End(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (!ended_) EndLocked(status);
  Pump();
}

template <typename Reply>
void ReplyStream<Reply>::EndLocked(const absl::Status& status) {
  ended_ = true;
  end_ = status;
}

template <typename Reply>
void ReplyStream<Reply>::Pump() {
  if (writing_ != nullptr || finished_) return;
  if (!queue_.empty()) {
    writing_ = std::move(queue_.front());
    queue_.pop_front();
    this->StartWrite(writing_.get());
  } else if (ended_) {
    finished_ = true;
    this->Finish(rpc::ToGrpc(end_));
  }
}

template <typename Reply>
size_t ReplyStream<Reply>::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

template <typename Reply>
bool ReplyStream<Reply>::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

template <typename Reply>
bool ReplyStream<Reply>::over() const {
  const std::lock_guard lock(mutex_);
  return over_;
}

template <typename Reply>
void ReplyStream<Reply>::CutOff() {
  const std::lock_guard lock(mutex_);
  if (!over_) context_->TryCancel();
}

template <typename Reply>
void ReplyStream<Reply>::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = nullptr;
  if (!ok) {
    queue_.clear();
    if (!ended_) EndLocked(absl::CancelledError("the reader is gone"));
  }
  Pump();
}

template <typename Reply>
void ReplyStream<Reply>::OnCancel() {
  const std::lock_guard lock(mutex_);
  queue_.clear();
  if (!ended_) EndLocked(absl::CancelledError("the reader is gone"));
  Pump();
}

template <typename Reply>
void ReplyStream<Reply>::OnDone() {
  const std::shared_ptr<ReplyStream> last = [this] {
    const std::lock_guard lock(mutex_);
    over_ = true;
    return std::exchange(self_, nullptr);
  }();
}

template class ReplyStream<v1::WatchReply>;
template class ReplyStream<v1::ReadLogReply>;

}  // namespace filigree::coordinator
