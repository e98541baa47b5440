#ifndef FILIGREE_WORKER_AGENT_CHILDREN_H_
#define FILIGREE_WORKER_AGENT_CHILDREN_H_

#include <sys/types.h>

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace filigree::agent {

struct Command {
  std::string program;                   // a path: it is not searched for
  std::vector<std::string> arguments;    // from argv[0] on
  std::vector<std::string> environment;  // all of it, "NAME=value"
  std::string folder;                    // to run in
};

struct Child {
  pid_t pid = -1;
  int output = -1;  // what it prints, both streams; does not block; the caller's to close
};

struct Ended {
  pid_t pid = -1;
  int status = 0;  // as waitpid says
};

// Processes in process groups of their own that cannot outlive this one, and whose children cannot outlive them: when
// one ends, what is left of its group and whatever else it leaves behind is killed, and only then is its end told.
// This process adopts orphans for that, so it should have no children but these.
//
// A child has default signals, nothing open but /dev/null and its output, and is sooner chosen by the kernel when
// memory runs out. It gets SIGKILL when the *thread* that started it ends.
//
// Threads: all of them any, except that the thread of Start should live as long as the children.
class Children {
 public:
  Children();
  ~Children();  // kills them and waits for their end
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  // FailedPrecondition: KillAll was called and Open was not since; nothing was started. Else what the system said, with
  // the path.
  absl::StatusOr<Child> Start(const Command& command);

  void Kill(pid_t pid);  // its group and its descendants, with SIGKILL
  // Kills all of them with their descendants, and lets none be started any more. Waits for nothing.
  void KillAll();
  void Open();

  // Who has ended since the last call. Cheap; to be called some times a second.
  std::vector<Ended> Reap();
  bool empty() const;

 private:
  struct Group {
    bool leader_ended = false;
    bool gone = false;  // nothing is left of it: its number may be another's by now
    int status = 0;
  };

  void KillGroup(pid_t pid, const Group& group);  // under mutex_
  void Look(pid_t pid, Group& group);             // under mutex_: how far its end has come
  void SweepOrphans();                            // under mutex_
  std::vector<pid_t> Orphans();                   // under mutex_

  mutable std::mutex mutex_;
  std::map<pid_t, Group> groups_;  // guarded by mutex_; until nothing of it is left
  bool open_ = true;               // guarded by mutex_
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_CHILDREN_H_
