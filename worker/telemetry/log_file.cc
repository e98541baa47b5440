#include "worker/telemetry/log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

namespace filigree::telemetry {
namespace {

constexpr char kCopySuffix[] = ".new";

// Of a file that is to take the place of another; nobody else has the name.
std::string CopyName(const std::string& path) {
  std::random_device random;
  return fmt::format("{}.{:08x}{:08x}{}", path, random(), random(), kCopySuffix);
}

// What a process left behind, or is about to put in the place of ours.
void RemoveOldCopies(const std::filesystem::path& path) {
  std::error_code error;
  const std::string prefix = path.filename().string() + ".";
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix) && name.ends_with(kCopySuffix)) std::filesystem::remove(entry.path(), error);
  }
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

// Ends the file after its first `bytes` and opens it; it is made where there is none.
absl::StatusOr<int> OpenCut(const std::string& path, int64_t bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return LogError(path, "cannot be opened", errno);
  struct stat file = {};
  if (fstat(fd, &file) == 0 && (file.st_size == bytes || ftruncate(fd, bytes) == 0)) return fd;
  const int error = errno;
  close(fd);
  return LogError(path, "cannot be cut", error);
}

bool IsBeginning(const Pieces& pieces) { return pieces.empty() || (pieces.size() == 1 && pieces.front().first == 0); }

void CloseIfOpen(int fd) {
  if (fd >= 0) close(fd);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogFile>> LogFile::Open(const std::string& path, int64_t completed, MayWrite may_write) {
  std::unique_ptr<LogFile> file(new LogFile(path, std::move(may_write)));
  if (file->may_write_ != nullptr) {
    if (absl::Status status = file->may_write_(); !status.ok()) return status;
  }
  file->old_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file->old_ < 0 && errno != ENOENT) return LogError(path, "cannot be read", errno);
  if (file->old_ >= 0) {
    absl::StatusOr<KeptLog> kept = ReadKept(path, file->old_, completed);
    if (!kept.ok()) return kept.status();
    file->kept_ = *std::move(kept);
  }
  absl::Status taken = file->TakeOver();
  if (!taken.ok() && !absl::IsResourceExhausted(taken)) return taken;
  return file;
}

LogFile::~LogFile() {
  CloseIfOpen(old_);
  CloseIfOpen(fd_);
}

absl::Status LogFile::TakeOver() {
  if (may_write_ == nullptr && IsBeginning(kept_.pieces)) {
    const absl::StatusOr<int> opened = OpenCut(path_, kept_.bytes);
    if (!opened.ok()) return opened.status();
    fd_ = *opened;
  } else if (absl::Status status = CopyInPlace(old_, kept_.pieces); !status.ok()) {
    return status;
  }
  size_ = kept_.bytes;
  CloseIfOpen(std::exchange(old_, -1));
  RemoveOldCopies(path_);
  return absl::OkStatus();
}

// Pieces of an open file become the log.
absl::Status LogFile::CopyInPlace(int from, const Pieces& pieces) {
  const std::string copy = CopyName(path_);
  if (absl::Status status = CopyPieces(path_, from, pieces, copy); !status.ok()) return status;
  const absl::StatusOr<int> opened = PutInPlace(copy, path_);
  if (!opened.ok()) return opened.status();
  CloseIfOpen(std::exchange(fd_, *opened));
  return absl::OkStatus();
}

absl::Status LogFile::Ready() {
  if (may_write_ != nullptr) {
    if (absl::Status status = may_write_(); !status.ok()) return status;
  }
  if (fd_ < 0) return TakeOver();
  if (may_write_ == nullptr || Names(path_, fd_)) return absl::OkStatus();
  return CopyInPlace(fd_, {{0, size_}});
}

// The oldest lines are given up first.
void LogFile::BoundWaiting() {
  if (waiting_.size() > kMostWaiting) waiting_.erase(0, waiting_.find('\n', waiting_.size() - kMostWaiting) + 1);
}

absl::Status LogFile::Append(std::string_view line, bool to_disk) {
  waiting_ += line;
  if (absl::Status status = Ready(); !status.ok()) {
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
