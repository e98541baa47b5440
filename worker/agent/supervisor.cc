#include "worker/agent/supervisor.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace filigree::agent {
namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr int kMostReads = 16;  // of one process in a row: the others have their turn

// The kernel's count of processes that it has killed for want of memory, on this machine.
int64_t OutOfMemoryKills() {
  std::FILE* const file = std::fopen("/proc/vmstat", "re");
  if (file == nullptr) return 0;
  char name[64];
  long long value = 0, found = 0;  // NOLINT: as scanf takes it
  while (std::fscanf(file, "%63s %lld", name, &value) == 2)
    if (std::strcmp(name, "oom_kill") == 0) found = value;
  std::fclose(file);
  return found;
}

}  // namespace

Supervisor::Supervisor(Children& children, const StateFolder& state, LogBook& book, LaunchPlace place, RanksOf ranks_of)
    : children_(children),
      state_(state),
      book_(book),
      place_(std::move(place)),
      ranks_of_(std::move(ranks_of)),
      out_of_memory_(OutOfMemoryKills()) {}

Supervisor::~Supervisor() {
  for (const auto& [pid, watched] : watched_)
    if (watched.output >= 0) close(watched.output);
}

absl::StatusOr<pid_t> Supervisor::Start(const agent::Start& start) {
  const absl::StatusOr<std::string> config = state_.WriteConfig(start.job, start.spec->config);
  if (!config.ok()) return config.status();
  const absl::StatusOr<Command> command = CommandOf(place_, start, *config);
  if (!command.ok()) return command.status();
  const absl::StatusOr<Child> child = children_.Start(*command);
  if (!child.ok()) return child.status();
  watched_[child->pid] = {start.process, child->output, {start.job, start.generation, start.ranks.front()}};
  return child->pid;
}

void Supervisor::Read(int wake, int timeout_ms) {
  std::vector<pollfd> streams = {{wake, POLLIN, 0}};
  std::vector<pid_t> pids = {0};
  streams.reserve(watched_.size() + 1);
  pids.reserve(watched_.size() + 1);
  for (const auto& [pid, watched] : watched_) {
    if (watched.output < 0) continue;
    streams.push_back({watched.output, POLLIN, 0});
    pids.push_back(pid);
  }
  if (poll(streams.data(), streams.size(), timeout_ms) <= 0) return;
  if (streams[0].revents != 0) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t bytes = read(wake, &count, sizeof count);
  }
  for (size_t i = 1; i < streams.size(); ++i)
    if (streams[i].revents != 0) ReadSome(watched_[pids[i]]);
}

bool Supervisor::ReadSome(Watched& watched) {
  // A process that was kept may be another rank by now.
  const std::vector<RankId> ranks = ranks_of_(watched.process);
  if (!ranks.empty() && ranks.front() != watched.rank) book_.Close(std::exchange(watched.rank, ranks.front()));
  char buffer[kReadBytes];
  for (int i = 0; i < kMostReads && watched.output >= 0; ++i) {
    const ssize_t count = read(watched.output, buffer, sizeof buffer);
    if (count > 0) {
      book_.Append(watched.rank, {buffer, static_cast<size_t>(count)});
    } else if (count == 0 || errno != EINTR) {
      if (count < 0 && errno == EAGAIN) return true;
      close(std::exchange(watched.output, -1));
    }
  }
  return watched.output >= 0;
}

Ending Supervisor::EndingOf(Watched& watched, int status) {
  ReadSome(watched);  // the pipe holds no more than that takes
  if (watched.output >= 0) close(std::exchange(watched.output, -1));
  Ending ending;
  ending.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  ending.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  const int64_t kills = OutOfMemoryKills();
  ending.out_of_memory = kills > std::exchange(out_of_memory_, kills);
  ending.tail = book_.Tail(watched.rank);
  book_.Close(watched.rank);
  return ending;
}

std::vector<Supervisor::Gone> Supervisor::Reap() {
  std::vector<Gone> gone;
  for (const Ended& ended : children_.Reap()) {
    const auto found = watched_.find(ended.pid);
    if (found == watched_.end()) continue;
    Ending ending = EndingOf(found->second, ended.status);
    gone.push_back({found->second.process, std::move(ending)});
    watched_.erase(found);
  }
  return gone;
}

}  // namespace filigree::agent
