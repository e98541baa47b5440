#ifndef FILIGREE_WORKER_TELEMETRY_LOG_FILE_H_
#define FILIGREE_WORKER_TELEMETRY_LOG_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/telemetry/trim_log.h"

// The file that a run's log is: whole lines, appended by one process at a time and handed to the operating system line
// by line.
//
// Resume   Open reads which lines of an earlier start stay (trim_log.h) and brings the file to that.
// Failures A write that fails leaves no part of its line behind; the line waits (with others, up to kMostWaiting bytes,
//          the oldest are given up first) and is written before the next one. Where the disk is full already when the
//          log is opened, all lines wait until the file can be brought to what stays; till then it is as it was.
// Owner    With `may_write` every line asks first, and an error of that is returned and nothing written. The log is
//          then a file of this start's own, put in the place of what was there: a process that was taken for dead and
//          still has the old one open writes into that, which has no name any more. Should it put its own in the place
//          of this one, that is put back with the next line.
// Errors   NotFound or PermissionDenied: the folder. ResourceExhausted and Unavailable: the disk.
// Threads  One at a time.

namespace filigree::telemetry {

inline constexpr size_t kMostWaiting = 16 << 20;

class LogFile {
 public:
  using MayWrite = std::function<absl::Status()>;  // empty: the file is this process's alone

  // completed: 0, or the step at which the run resumes.
  static absl::StatusOr<std::unique_ptr<LogFile>> Open(const std::string& path, int64_t completed, MayWrite may_write);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // A line, its newline included. to_disk: returns when it has reached the disk.
  absl::Status Append(std::string_view line, bool to_disk);

  // Of what an earlier start wrote.
  const KeptLog& kept() const { return kept_; }

 private:
  LogFile(const std::string& path, MayWrite may_write) : path_(path), may_write_(std::move(may_write)) {}
  absl::Status TakeOver();
  absl::Status CopyInPlace(int from, const Pieces& pieces);
  // Whether a line may be written, with the file in its place.
  absl::Status Ready();
  void BoundWaiting();

  const std::string path_;
  const MayWrite may_write_;
  KeptLog kept_;
  int old_ = -1;         // what was there, until it is taken over; -1: nothing was
  int fd_ = -1;          // -1: not taken over yet
  int64_t size_ = 0;     // bytes of whole lines in the file
  std::string waiting_;  // whole lines that could not be written
};

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_LOG_FILE_H_
