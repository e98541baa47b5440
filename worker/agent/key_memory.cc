#include "worker/agent/key_memory.h"

#include <iterator>

namespace filigree::agent {

void KeyMemory::Remember(const v1::SetKeyRequest& request) {
  const std::lock_guard lock(mutex_);
  const size_t bytes = request.key().size() + request.value().size();
  if (bytes_ + bytes > kMostBytes) return;
  if (requests_.emplace(std::tuple(request.job(), request.generation(), request.key()), request).second)
    bytes_ += bytes;
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
    if (!kept) bytes_ -= request.key().size() + request.value().size();
    at = kept ? std::next(at) : requests_.erase(at);
  }
}

}  // namespace filigree::agent
