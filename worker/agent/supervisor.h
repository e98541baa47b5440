#ifndef FILIGREE_WORKER_AGENT_SUPERVISOR_H_
#define FILIGREE_WORKER_AGENT_SUPERVISOR_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/agent/children.h"
#include "worker/agent/launch.h"
#include "worker/agent/log_book.h"
#include "worker/agent/rank_table.h"
#include "worker/agent/state_folder.h"

namespace filigree::agent {

// The processes behind the names of a rank table: starts them, reads what they print into the log book, waits for them.
//
// Threads: all of it the one that started the processes.
class Supervisor {
 public:
  struct Gone {
    std::string process;
    Ending ending;
  };
  using RanksOf = std::function<std::vector<RankId>(const std::string& process)>;

  Supervisor(Children& children, const StateFolder& state, LogBook& book, LaunchPlace place, RanksOf ranks_of);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // The process is called `start.process` from now on. Status: why it could not be started.
  absl::StatusOr<pid_t> Start(const agent::Start& start);
  // Waits until something is printed, `wake` can be read or the time is over, and reads what is printed.
  void Read(int wake, int timeout_ms);
  // Whoever has ended since the last call, with all that it started.
  std::vector<Gone> Reap();

 private:
  struct Watched {
    std::string process;
    int output = -1;
    RankId rank;  // whose output it is
  };
  bool ReadSome(Watched& watched);  // false: it prints nothing any more
  Ending EndingOf(Watched& watched, int status);

  Children& children_;
  const StateFolder& state_;
  LogBook& book_;
  const LaunchPlace place_;
  const RanksOf ranks_of_;
  std::map<pid_t, Watched> watched_;
  int64_t out_of_memory_ = 0;  // times that the kernel had killed something for want of memory
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_SUPERVISOR_H_
