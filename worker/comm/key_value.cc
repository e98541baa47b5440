#include "worker/comm/key_value.h"

#include <fmt/format.h>

#include <condition_variable>
#include <map>
#include <mutex>

namespace filigree::comm {
namespace {

class Memory : public KeyValueStore {
 public:
  absl::Status Set(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    const auto [place, added] = values_.emplace(key, value);
    if (!added && place->second != value) {
      return absl::AlreadyExistsError(fmt::format("key {} holds another value already", key));
    }
    changed_.notify_all();
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Get(const std::string& key, std::chrono::milliseconds deadline) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, deadline, [&] { return values_.contains(key); })) {
      return absl::DeadlineExceededError(fmt::format("key {} was not set within {} ms", key, deadline.count()));
    }
    return values_[key];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;  // guarded by mutex_
};

}  // namespace

std::shared_ptr<KeyValueStore> MemoryStore() { return std::make_shared<Memory>(); }

}  // namespace filigree::comm
