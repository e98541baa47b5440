#ifndef FILIGREE_COORDINATOR_RPC_WATCHERS_H_
#define FILIGREE_COORDINATOR_RPC_WATCHERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/core/core.h"
#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/rpc/reply_stream.h"

namespace filigree::coordinator {

// All who watch. Threads: the strand's.
class Watchers {
 public:
  explicit Watchers(const Limits& limits) : limits_(limits) {}

  // Begins with the job as it is; a job that has ended is told once. NotFound and ResourceExhausted end the stream.
  void Add(const Core& core, const WatchQuery& query, int64_t now_us, int64_t until_us,
           std::shared_ptr<WatchStream> stream);

  // Events of a decision that was kept.
  void Publish(const std::vector<Event>& events);

  // Progress that is due, watches whose time is over, readers that are gone.
  void Tick(const Core& core, int64_t now_us);

  void Close(const absl::Status& status);
  size_t count() const { return watchers_.size(); }
  int64_t dropped() const { return dropped_; }  // that were too slow; any thread

 private:
  struct Watcher {
    WatchQuery query;
    int64_t until_us = 0, next_progress_us = 0;
    int64_t ended_us = 0;  // when it was first seen to have ended; 0: not yet
    bool cut_off = false;
    std::shared_ptr<WatchStream> stream;
  };

  using Messages = std::map<std::string, WatchStream::Message>;  // of one tick, by job: many may watch one

  void TellProgress(const Core& core, Watcher& watcher, int64_t now_us, Messages& messages);

  const Limits& limits_;
  std::list<Watcher> watchers_;
  std::atomic<int64_t> dropped_ = 0;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_WATCHERS_H_
