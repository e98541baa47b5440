#ifndef FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_
#define FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace filigree::checkpoint {

// One process writes into a run folder at a time: an flock on RUN/lock, which the kernel drops when the process ends,
// however it ends, so that no lock is ever stale. The file says who holds it (pid and host) and stays behind.
//
// Movable; the destructor gives the lock back.
class RunLock {
 public:
  // The folder must exist. FailedPrecondition: a live process has it; the message names its pid and host.
  // Else the errors of opening the file: PermissionDenied, NotFound, ...
  static absl::StatusOr<RunLock> Acquire(const std::string& run_dir);

  RunLock(RunLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RunLock& operator=(RunLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_
