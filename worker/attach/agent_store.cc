#include "worker/attach/agent_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace filigree::attach {
namespace {

using Clock = std::chrono::steady_clock;
constexpr milliseconds kLook{500};   // at `left`, while waiting
constexpr milliseconds kPause{100};  // before a call that failed is made again
constexpr milliseconds kSetWithin{30'000};

class OfAgent : public comm::KeyValueStore {
 public:
  OfAgent(AgentLink& link, int64_t generation, std::function<bool()> left)
      : link_(link), generation_(generation), left_(std::move(left)) {}

  absl::Status Set(const std::string& key, const std::string& value) override {
    const Clock::time_point end = Clock::now() + kSetWithin;
    absl::Status status;
    do {
      if (left_()) return Left();
      status = link_.Set(generation_, key, value);
      if (!MayWork(status)) break;
      std::this_thread::sleep_for(kPause);
    } while (Clock::now() < end);
    if (!status.ok()) return Named(status);
    const std::lock_guard lock(mutex_);
    own_[key] = value;
    return status;
  }

  absl::StatusOr<std::string> Get(const std::string& key, milliseconds deadline) override {
    const Clock::time_point end = Clock::now() + deadline;
    while (true) {
      if (left_()) return Left();
      const auto rest = std::chrono::duration_cast<milliseconds>(end - Clock::now());
      absl::StatusOr<std::string> value = link_.Get(generation_, key, std::clamp(rest, milliseconds(0), kLook));
      if (!value.ok() && !absl::IsDeadlineExceeded(value.status())) unsure_ = true;
      if (unsure_ && SetOwnAgain()) unsure_ = false;
      if (value.ok()) return value;
      if (!MayWork(value.status())) return Named(value.status());
      if (Clock::now() >= end) return absl::DeadlineExceededError(fmt::format("key {} was not set in time", key));
      if (!absl::IsDeadlineExceeded(value.status())) std::this_thread::sleep_for(kPause);
    }
  }

 private:
  static bool MayWork(const absl::Status& status) {
    return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
  }
  absl::Status Left() const { return absl::UnavailableError(fmt::format("generation {} is to be left", generation_)); }
  // That the generation is over is a loss like others: there will be a next one.
  absl::Status Named(const absl::Status& status) const {
    if (!absl::IsFailedPrecondition(status) && !MayWork(status)) return status;
    return absl::UnavailableError(
        fmt::format("the ranks of generation {} cannot meet: {}", generation_, std::string(status.message())));
  }
  bool SetOwnAgain() {
    const std::lock_guard lock(mutex_);
    return std::all_of(own_.begin(), own_.end(),
                       [this](const auto& own) { return link_.Set(generation_, own.first, own.second).ok(); });
  }

  AgentLink& link_;
  const int64_t generation_;
  const std::function<bool()> left_;
  std::atomic<bool> unsure_ = false;  // whether the coordinator is still the one that has our keys
  std::mutex mutex_;
  std::map<std::string, std::string> own_;  // guarded by mutex_
};

}  // namespace

std::shared_ptr<comm::KeyValueStore> AgentStore(AgentLink& link, int64_t generation, std::function<bool()> left) {
  return std::make_shared<OfAgent>(link, generation, std::move(left));
}

}  // namespace filigree::attach
