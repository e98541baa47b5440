#ifndef FILIGREE_COORDINATOR_RPC_DESK_H_
#define FILIGREE_COORDINATOR_RPC_DESK_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/core.h"
#include "coordinator/rpc/keep.h"
#include "coordinator/rpc/key_store.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/rpc/log_readers.h"
#include "coordinator/rpc/log_store.h"
#include "coordinator/rpc/news.h"
#include "coordinator/rpc/watchers.h"

namespace filigree::coordinator {

// What somebody outside may want to hear. Called by the strand: short, and no way back into the server.
struct Hooks {
  std::function<void(const Event& event)> on_event;  // its decision is kept
  // The ranks of a job are gone: what they have told stands in the core for the last time. Before the events of it.
  std::function<void(const Core& core, const JobRow& row, Now now)> on_released;
  std::function<void(const absl::Status& status)> on_kept;  // whether rows can be kept has changed
};

// The core and all that follows from its decisions: kept, then accepted, then told. Threads: the strand's, and whoever
// makes it before the strand runs.
class Desk {
 public:
  Desk(const Options& options, Tables tables, Keep keep, Hooks hooks, const Limits& limits);

  // This process becomes a new epoch. Unavailable: the journal cannot be written.
  absl::Status Open() { return Settle(core_.Start(Time())).status(); }

  // Keeps the decision's rows and tells the world, or drops it. What the caller may be answered: the reply, or
  // Unavailable where nothing was kept. `speaker`: the worker that is being answered with its assignments.
  template <typename Reply>
  absl::StatusOr<Reply> Settle(Decision<Reply> decision, const std::string& speaker = "") {
    absl::Status kept = KeepRows(decision.outcome);
    if (!kept.ok()) {
      core_.Drop(decision.outcome);
      return kept;
    }
    TellReleased(decision.outcome);
    core_.Accept(decision.outcome);
    Tell(decision.outcome, speaker);
    return std::move(decision.reply);
  }

  void Tick();
  void Close(const absl::Status& status);  // all who wait are answered

  // Now on this machine's clocks.
  static Now Time();

  Core& core() { return core_; }
  KeyStore& keys() { return keys_; }
  News& news() { return news_; }
  Watchers& watchers() { return watchers_; }
  LogStore& logs() { return logs_; }
  LogReaders& log_readers() { return log_readers_; }

 private:
  absl::Status KeepRows(const Outcome& outcome);
  void TellReleased(const Outcome& outcome);
  void Tell(const Outcome& outcome, const std::string& speaker);

  Core core_;
  const Keep keep_;
  const Hooks hooks_;
  KeyStore keys_;
  News news_;
  Watchers watchers_;
  LogStore logs_;
  LogReaders log_readers_;
  bool keeps_ = true;  // the last rows could be kept
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_DESK_H_
