#include "worker/checkpoint/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "absl/status/status.h"

namespace filigree::checkpoint {
namespace {

std::string HolderText() {
  char host[HOST_NAME_MAX + 1] = {};
  if (::gethostname(host, HOST_NAME_MAX) != 0) host[0] = '?';
  return fmt::format("process {} on {}\n", ::getpid(), host);
}

// What the holder wrote, one line; it is only for the message.
std::string ReadHolder(int fd) {
  char text[256] = {};
  const ssize_t n = ::pread(fd, text, sizeof(text) - 1, 0);
  std::string line;
  for (ssize_t i = 0; i < n && text[i] >= ' ' && text[i] <= '~'; ++i) line += text[i];
  return line.empty() ? "another process" : line;
}

}  // namespace

absl::StatusOr<RunLock> RunLock::Acquire(const std::string& run_dir) {
  const std::string path = run_dir + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot open {}", path));
  RunLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, fmt::format("cannot lock {}", path));
    return absl::FailedPreconditionError(fmt::format(
        "the run folder {} is in use by {}; stop that process first or give another run.dir", run_dir, ReadHolder(fd)));
  }
  const std::string holder = HolderText();
  // Only a hint for people: on a full disk the lock holds all the same.
  if (::ftruncate(fd, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::pwrite(fd, holder.data(), holder.size(), 0);
  return lock;
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace filigree::checkpoint
