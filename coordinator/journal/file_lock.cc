#include "coordinator/journal/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "absl/status/status.h"

namespace filigree::coordinator {
namespace {

std::string ThisProcess() {
  char host[HOST_NAME_MAX + 1] = {};
  if (::gethostname(host, HOST_NAME_MAX) != 0) host[0] = '?';
  return fmt::format("process {} on {}\n", ::getpid(), host);
}

// What the holder wrote, one line; it is only for the message.
std::string Holder(int fd) {
  char text[256] = {};
  const ssize_t n = ::pread(fd, text, sizeof(text) - 1, 0);
  std::string line;
  for (ssize_t i = 0; i < n && text[i] >= ' ' && text[i] <= '~'; ++i) line += text[i];
  return line.empty() ? "another process" : line;
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  const std::string lock_path = path + ".lock";
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return absl::ErrnoToStatus(
        errno,
        fmt::format("journal {}: cannot open {}; its folder must exist and be writable by this user", path, lock_path));
  FileLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK)
      return absl::ErrnoToStatus(errno, fmt::format("journal {}: cannot lock {}", path, lock_path));
    return absl::FailedPreconditionError(
        fmt::format("journal {} is in use by {}; stop that coordinator first or give another path", path, Holder(fd)));
  }
  const std::string holder = ThisProcess();
  // Only a hint for people: on a full disk the lock holds all the same.
  if (::ftruncate(fd, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::pwrite(fd, holder.data(), holder.size(), 0);
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace filigree::coordinator
