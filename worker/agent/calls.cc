#include "worker/agent/calls.h"

namespace filigree::agent {

bool Calls::Enter(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  under_way_.insert(context);
  return true;
}

void Calls::Leave(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  under_way_.erase(context);
  if (under_way_.empty()) left_.notify_all();
}

void Calls::Close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (grpc::ClientContext* context : under_way_) context->TryCancel();
  left_.wait(lock, [this] { return under_way_.empty(); });
}

}  // namespace filigree::agent
