#include "worker/telemetry/step_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "worker/telemetry/trim_log.h"

namespace filigree::telemetry {
namespace {

constexpr char kCopySuffix[] = ".new";

double SystemSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Of a log that is to take the place of another; nobody else has the name.
std::string CopyName(const std::string& path) {
  std::random_device random;
  return fmt::format("{}.{:08x}{:08x}{}", path, random(), random(), kCopySuffix);
}

// What a process left behind, or is about to put in the place of ours.
void RemoveOldCopies(const std::string& dir) {
  std::error_code error;
  const std::string prefix = fmt::format("{}.", StepLog::kFileName);
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix) && name.ends_with(kCopySuffix)) std::filesystem::remove(entry.path(), error);
  }
}

absl::StatusOr<int> OpenLog(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return LogError(path, "cannot be opened", errno);
  return fd;
}

// Opens the copy and gives it the log's name.
absl::StatusOr<int> PutInPlace(const std::string& copy, const std::string& path) {
  const int fd = open(copy.c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0 && std::rename(copy.c_str(), path.c_str()) == 0) return fd;
  const int error = errno;
  if (fd >= 0) close(fd);
  std::remove(copy.c_str());
  return LogError(path, "cannot be put in place", error);
}

// Is `path` the name of this very file?
bool Names(const std::string& path, int fd) {
  struct stat named = {}, opened = {};
  return stat(path.c_str(), &named) == 0 && fstat(fd, &opened) == 0 && named.st_dev == opened.st_dev &&
         named.st_ino == opened.st_ino;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepLog>> StepLog::Open(const LogOptions& options) {
  const std::string path = options.dir + "/" + kFileName;
  const bool own = options.may_write != nullptr;
  if (own) {
    if (absl::Status status = options.may_write(); !status.ok()) return status;
  }
  const std::string copy = CopyName(path);
  auto kept = own ? CopyTrimmedLog(path, options.completed, copy) : TrimLog(path, options.completed);
  if (!kept.ok()) return kept.status();
  const absl::StatusOr<int> opened = own ? PutInPlace(copy, path) : OpenLog(path);
  if (!opened.ok()) return opened.status();
  if (own) RemoveOldCopies(options.dir);
  std::unique_ptr<StepLog> log(new StepLog(options, path, *opened));
  log->size_ = kept->bytes;
  log->damaged_lines_ = kept->damaged_lines;
  log->last_step_ = kept->last_step;
  for (const double loss : kept->losses) log->z_score_.Add(loss);
  return log;
}

StepLog::StepLog(const LogOptions& options, const std::string& path, int fd)
    : path_(path),
      clock_(options.clock ? options.clock : SystemSeconds),
      fd_(fd),
      size_(0),
      started_(clock_()),
      may_write_(options.may_write),
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
  last_step_ = std::max(last_step_, record.step);
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

absl::Status StepLog::CheckOwner() {
  if (may_write_ == nullptr) return absl::OkStatus();
  if (absl::Status status = may_write_(); !status.ok()) return status;
  if (Names(path_, fd_)) return absl::OkStatus();
  const std::string copy = CopyName(path_);
  if (absl::Status status = CopyLog(fd_, size_, copy); !status.ok()) return status;
  const absl::StatusOr<int> opened = PutInPlace(copy, path_);
  if (!opened.ok()) return opened.status();
  close(std::exchange(fd_, *opened));
  return absl::OkStatus();
}

// The oldest records are given up first.
void StepLog::BoundWaiting() {
  if (waiting_.size() > kMostWaiting) waiting_.erase(0, waiting_.find('\n', waiting_.size() - kMostWaiting) + 1);
}

absl::Status StepLog::Append(const Record& record, bool to_disk) {
  waiting_ += FormatRecord(record);
  if (absl::Status status = CheckOwner(); !status.ok()) {
    BoundWaiting();
    return status;
  }
  for (size_t done = 0; done < waiting_.size();) {
    const ssize_t n = pwrite(fd_, waiting_.data() + done, waiting_.size() - done, size_ + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      const bool cut = ftruncate(fd_, size_) == 0;
      BoundWaiting();
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
