#ifndef FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_
#define FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace filigree::checkpoint {

// One process writes into a run folder at a time: an flock on RUN/lock, which the kernel drops when the process ends,
// however it ends, so that no lock is ever stale. The file says who holds it (pid and host) and stays behind.
//
// Under a coordinator it says of which job and generation too, and a later generation of the same job takes the place
// of an earlier one, whose process may be stopped or cut off: it puts a file of its own in the place of the lock. Who
// had it finds out by Check, and asks before everything it writes. Of two that take it at once the later generation has
// it as soon as both have asked.
//
// Movable; the destructor gives the lock back. Threads: one at a time.
class RunLock {
 public:
  // Of a generation; number 0: no coordinator.
  struct Generation {
    int64_t number = 0;
    std::string job;
  };

  // The folder must exist. FailedPrecondition: a live process has it that is not to be replaced: one without a
  // coordinator, of another job, or of the same generation; the message names its pid and host. Superseded (commit.h):
  // a later generation of the job has had it. Else the errors of opening the file: PermissionDenied, NotFound, ...
  static absl::StatusOr<RunLock> Acquire(const std::string& run_dir) { return Acquire(run_dir, Generation()); }
  static absl::StatusOr<RunLock> Acquire(const std::string& run_dir, const Generation& generation);

  // Has this process still got it? Superseded: a later generation has taken it. What an earlier one has taken since is
  // taken back. Without a coordinator nobody takes it. Cost: two stat calls.
  absl::Status Check();

  RunLock(RunLock&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), generation_(std::move(other.generation_)) {}
  RunLock& operator=(RunLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    std::swap(generation_, other.generation_);
    return *this;
  }
  ~RunLock();

 private:
  RunLock(int fd, std::string path, Generation generation)
      : fd_(fd), path_(std::move(path)), generation_(std::move(generation)) {}
  // A new file, locked, in the place of the lock, whoever has that.
  static absl::StatusOr<RunLock> Replace(const std::string& path, const Generation& generation);

  int fd_ = -1;
  std::string path_;
  Generation generation_;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_RUN_LOCK_H_
