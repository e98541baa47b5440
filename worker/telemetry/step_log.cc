#include "worker/telemetry/step_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "worker/telemetry/trim_log.h"

namespace filigree::telemetry {
namespace {

double SystemSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepLog>> StepLog::Open(const LogOptions& options) {
  const std::string path = options.dir + "/" + kFileName;
  auto kept = TrimLog(path, options.completed);
  if (!kept.ok()) return kept.status();
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return LogError(path, "cannot be opened", errno);
  std::unique_ptr<StepLog> log(new StepLog(options, path, fd));
  log->size_ = kept->bytes;
  log->damaged_lines_ = kept->damaged_lines;
  for (const double loss : kept->losses) log->z_score_.Add(loss);
  return log;
}

StepLog::StepLog(const LogOptions& options, const std::string& path, int fd)
    : path_(path),
      clock_(options.clock ? options.clock : SystemSeconds),
      fd_(fd),
      size_(0),
      started_(clock_()),
      display_(options.output, options.out, options.steps, options.completed, started_) {}

StepLog::~StepLog() { close(fd_); }

absl::Status StepLog::Run(RunRecord record) {
  record.started = started_;
  display_.Run(record);
  return Append(record, false);
}

absl::Status StepLog::Step(StepRecord record) {
  record.z_score = z_score_.Add(record.loss);
  display_.Step(record, clock_());
  return Append(record, false);
}

absl::Status StepLog::Eval(const EvalRecord& record) {
  display_.Eval(record);
  return Append(record, false);
}

absl::Status StepLog::Sample(const SampleRecord& record) {
  display_.Sample(record);
  return Append(record, false);
}

absl::Status StepLog::Checkpoint(const CheckpointRecord& record) {
  display_.Checkpoint(record);
  return Append(record, true);
}

absl::Status StepLog::Snapshot(const SnapshotRecord& record) { return Append(record, false); }

absl::Status StepLog::Note(const NoteRecord& record) {
  display_.Note(record);
  return Append(record, false);
}

absl::Status StepLog::End(EndRecord record) {
  record.seconds = clock_() - started_;
  display_.End(record);
  return Append(record, true);
}

absl::Status StepLog::Append(const Record& record, bool to_disk) {
  waiting_ += FormatRecord(record);
  for (size_t done = 0; done < waiting_.size();) {
    const ssize_t n = pwrite(fd_, waiting_.data() + done, waiting_.size() - done, size_ + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      const bool cut = ftruncate(fd_, size_) == 0;
      if (waiting_.size() > kMostWaiting) waiting_.erase(0, waiting_.find('\n', waiting_.size() - kMostWaiting) + 1);
      return LogError(path_, cut ? "a record could not be written and waits" : "a record was torn and waits", error);
    }
    done += static_cast<size_t>(n);
  }
  size_ += static_cast<int64_t>(waiting_.size());
  waiting_.clear();
  if (to_disk && fdatasync(fd_) != 0) return LogError(path_, "did not reach the disk", errno);
  return absl::OkStatus();
}

}  // namespace filigree::telemetry
