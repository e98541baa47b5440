#include "worker/agent/children.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "worker/agent/spawn.h"

namespace filigree::agent {
namespace {

// Children of a process, by whichever of its threads.
std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::vector<pid_t> children;
  DIR* const threads = opendir(fmt::format("/proc/{}/task", parent).c_str());
  if (threads == nullptr) return children;
  while (const dirent* thread = readdir(threads)) {
    if (thread->d_name[0] == '.') continue;
    const std::string path = fmt::format("/proc/{}/task/{}/children", parent, thread->d_name);
    std::FILE* const file = std::fopen(path.c_str(), "re");
    if (file == nullptr) continue;  // the thread has ended
    for (int pid = 0; std::fscanf(file, "%d", &pid) == 1;) children.push_back(pid);
    std::fclose(file);
  }
  closedir(threads);
  return children;
}

// With all that it has started, in whatever groups: mpirun gives its ranks one of their own. Stopped first: it starts
// nothing more, and waits for no child, whose number could be another's then.
void KillWithDescendants(pid_t pid) {
  kill(pid, SIGSTOP);
  for (const pid_t child : ChildrenOf(pid)) KillWithDescendants(child);
  kill(pid, SIGKILL);
}

}  // namespace

Children::Children() { prctl(PR_SET_CHILD_SUBREAPER, 1); }

Children::~Children() {
  KillAll();
  while (!empty()) {
    Reap();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// Under the lock from before the fork until it is listed: whoever kills all of them misses none. Not while the program
// is read, which a slow disk can delay.
absl::StatusOr<Child> Children::Start(const Command& command) {
  Forked forked;
  {
    const std::lock_guard lock(mutex_);
    if (!open_)
      return absl::FailedPreconditionError("all ranks are being ended; nothing is started until that is over");
    const absl::StatusOr<Forked> made = Fork(command);
    if (!made.ok()) return made.status();
    forked = *made;
    groups_[forked.child.pid] = {};
  }
  absl::Status status = AwaitProgram(command, forked);
  if (status.ok()) return forked.child;
  const std::lock_guard lock(mutex_);
  if (groups_.erase(forked.child.pid) > 0) waitpid(forked.child.pid, nullptr, 0);
  return status;
}

void Children::Kill(pid_t pid) {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(pid);
  if (found != groups_.end()) KillGroup(pid, found->second);
}

void Children::KillGroup(pid_t pid, const Group& group) {
  if (group.gone) return;
  if (!group.leader_ended) KillWithDescendants(pid);
  kill(-pid, SIGKILL);
}

void Children::KillAll() {
  const std::lock_guard lock(mutex_);
  open_ = false;
  for (const auto& [pid, group] : groups_) KillGroup(pid, group);
  if (!groups_.empty()) SweepOrphans();
}

void Children::Open() {
  const std::lock_guard lock(mutex_);
  open_ = true;
}

std::vector<pid_t> Children::Orphans() {
  std::vector<pid_t> orphans;
  for (const pid_t pid : ChildrenOf(getpid()))
    if (groups_.count(pid) == 0) orphans.push_back(pid);
  return orphans;
}

// What an ended child has left behind in other groups became ours. A pid of ours is nobody else's until we have waited
// for it.
void Children::SweepOrphans() {
  for (const pid_t pid : Orphans()) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, WNOHANG);
  }
}

// The number of a group is not given out again while it has members, a leader that nobody waited for among them.
void Children::Look(pid_t pid, Group& group) {
  if (group.gone) return;
  if (!group.leader_ended) {
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid) return;
    kill(-pid, SIGKILL);
    waitpid(pid, &group.status, 0);
    group.leader_ended = true;
  }
  while (waitpid(-pid, nullptr, WNOHANG) > 0) continue;
  group.gone = kill(-pid, SIGKILL) != 0 && errno == ESRCH;
}

std::vector<Ended> Children::Reap() {
  const std::lock_guard lock(mutex_);
  bool any_ended = false;
  for (auto& [pid, group] : groups_) {
    Look(pid, group);
    any_ended |= group.leader_ended;
  }
  std::vector<Ended> ended;
  if (!any_ended) return ended;
  SweepOrphans();
  // Orphans bear no name: while there are any, nobody's end is sure.
  if (!Orphans().empty()) return ended;
  for (auto at = groups_.begin(); at != groups_.end();) {
    if (at->second.gone) ended.push_back({at->first, at->second.status});
    at = at->second.gone ? groups_.erase(at) : std::next(at);
  }
  return ended;
}

bool Children::empty() const {
  const std::lock_guard lock(mutex_);
  return groups_.empty();
}

}  // namespace filigree::agent
