#include "coordinator/rpc/news.h"

#include <utility>

namespace filigree::coordinator {

void News::Await(const std::string& worker, int64_t until_us, Answer answer) {
  const auto earlier = waiters_.extract(worker);
  if (!earlier.empty()) earlier.mapped().answer(false);
  if (unread_.erase(worker) > 0) return answer(true);
  waiters_[worker] = {until_us, std::move(answer)};
}

void News::Nudge(const std::vector<std::string>& workers) {
  for (const std::string& worker : workers) {
    const auto waiting = waiters_.extract(worker);
    if (waiting.empty())
      unread_.insert(worker);
    else
      waiting.mapped().answer(true);
  }
}

void News::Forget(const std::string& worker) {
  unread_.erase(worker);
  const auto waiting = waiters_.extract(worker);
  if (!waiting.empty()) waiting.mapped().answer(true);  // its next heartbeat says what became of it
}

void News::Expire(int64_t now_us) {
  for (auto at = waiters_.begin(); at != waiters_.end();) {
    if (at->second.until_us > now_us) {
      ++at;
      continue;
    }
    const Answer answer = std::move(at->second.answer);
    at = waiters_.erase(at);
    answer(false);
  }
}

void News::Close() {
  for (const auto& [worker, waiter] : std::exchange(waiters_, {})) waiter.answer(false);
}

}  // namespace filigree::coordinator
