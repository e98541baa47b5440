#ifndef FILIGREE_COORDINATOR_RPC_NEWS_H_
#define FILIGREE_COORDINATOR_RPC_NEWS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace filigree::coordinator {

// Tells workers that wait for it that a heartbeat before its time is worth while. Threads: the strand's.
class News {
 public:
  using Answer = std::function<void(bool news)>;

  // Answered at once where there is news since the worker's last heartbeat. One waits for a worker at a time: an
  // earlier one is answered with no news.
  void Await(const std::string& worker, int64_t until_us, Answer answer);

  void Nudge(const std::vector<std::string>& workers);
  void HeardBy(const std::string& worker) { unread_.erase(worker); }  // its heartbeat is being answered
  void Forget(const std::string& worker);                             // it is gone

  void Expire(int64_t now_us);
  void Close();

 private:
  struct Waiter {
    int64_t until_us = 0;
    Answer answer;
  };
  std::map<std::string, Waiter> waiters_;
  std::set<std::string> unread_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_NEWS_H_
