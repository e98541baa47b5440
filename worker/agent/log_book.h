#ifndef FILIGREE_WORKER_AGENT_LOG_BOOK_H_
#define FILIGREE_WORKER_AGENT_LOG_BOOK_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "filigree/v1/workers.pb.h"
#include "worker/agent/rank_log.h"
#include "worker/agent/rank_table.h"

namespace filigree::agent {

// What all ranks of this worker print, until it is sent. Logs of ranks that have ended are forgotten when all of them
// was sent, and the oldest of them when there are too many; their files stay.
//
// Threads: any.
class LogBook {
 public:
  explicit LogBook(std::function<std::string(const RankId&)> path) : path_(std::move(path)) {}

  void Append(const RankId& id, std::string_view bytes);
  std::string Tail(const RankId& id) const;
  void Close(const RankId& id);  // nothing more comes

  // Parts of one generation of one job that were not sent yet, at most what one message takes; none: nothing waits.
  v1::SendLogRequest Unsent();
  // They were taken, or will never be.
  void MarkSent(const v1::SendLogRequest& request);

 private:
  struct Log {
    std::unique_ptr<RankLog> log;
    bool closed = false;
  };
  void Forget();  // under mutex_

  const std::function<std::string(const RankId&)> path_;
  mutable std::mutex mutex_;
  std::map<RankId, Log> logs_;  // guarded by mutex_
  RankId turn_;                 // guarded by mutex_: where Unsent looked last, so that every job has its turn
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_LOG_BOOK_H_
