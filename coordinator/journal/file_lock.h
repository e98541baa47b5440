#ifndef FILIGREE_COORDINATOR_JOURNAL_FILE_LOCK_H_
#define FILIGREE_COORDINATOR_JOURNAL_FILE_LOCK_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace filigree::coordinator {

// One process has a journal at a time: an flock on PATH.lock, which the kernel drops when the process ends, however it
// ends, so that no lock is ever stale. The file says who holds it (pid and host) and stays behind.
//
// Movable; the destructor gives the lock back.
class FileLock {
 public:
  // FailedPrecondition: a live process has it; the message names its pid and host. Else the errors of opening the file:
  // PermissionDenied, NotFound, ResourceExhausted, ...
  static absl::StatusOr<FileLock> Acquire(const std::string& path);

  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_FILE_LOCK_H_
