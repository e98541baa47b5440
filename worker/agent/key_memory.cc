#include "worker/agent/key_memory.h"

#include <iterator>

namespace filigree::agent {

namespace {

size_t BytesOf(const v1::SetKeyRequest& request) { return request.key().size() + request.value().size(); }

}  // namespace

bool KeyMemory::Remember(const v1::SetKeyRequest& request) {
  const std::lock_guard lock(mutex_);
  if (bytes_ + BytesOf(request) > kMostBytes) return false;
  const bool added = requests_.emplace(std::tuple(request.job(), request.generation(), request.key()), request).second;
  if (added) bytes_ += BytesOf(request);
  return added;
}

void KeyMemory::Accept(const v1::SetKeyRequest& request) {
  const std::lock_guard lock(mutex_);
  const auto key = std::tuple(request.job(), request.generation(), request.key());
  const auto found = requests_.find(key);
  const size_t before = found == requests_.end() ? 0 : BytesOf(found->second);
  if (bytes_ - before + BytesOf(request) > kMostBytes) return;
  bytes_ += BytesOf(request) - before;
  requests_.insert_or_assign(key, request);
}

void KeyMemory::Drop(const v1::SetKeyRequest& request) {
  const std::lock_guard lock(mutex_);
  const auto found = requests_.find(std::tuple(request.job(), request.generation(), request.key()));
  if (found == requests_.end() || found->second.value() != request.value()) return;
  bytes_ -= BytesOf(found->second);
  requests_.erase(found);
}

std::vector<v1::SetKeyRequest> KeyMemory::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::SetKeyRequest> all;
  all.reserve(requests_.size());
  for (const auto& [key, request] : requests_) all.push_back(request);
  return all;
}

void KeyMemory::Forget(const std::function<bool(const std::string& job, int64_t generation)>& lives) {
  const std::lock_guard lock(mutex_);
  for (auto at = requests_.begin(); at != requests_.end();) {
    const v1::SetKeyRequest& request = at->second;
    const bool kept = lives(request.job(), request.generation());
    if (!kept) bytes_ -= BytesOf(request);
    at = kept ? std::next(at) : requests_.erase(at);
  }
}

}  // namespace filigree::agent
