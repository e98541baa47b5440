#include "coordinator/journal/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "coordinator/journal/descriptor.h"
#include "coordinator/journal/log_check.h"

namespace filigree::coordinator {
namespace {

int64_t SizeOf(const std::string& path) {  // -1: there is none
  struct stat stat = {};
  return ::stat(path.c_str(), &stat) == 0 ? stat.st_size : -1;
}

absl::Status Create(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, fmt::format("journal {}: cannot create it", path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const std::string folder_name = folder.empty() ? "." : folder.string();
  const Descriptor opened(::open(folder_name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0 || ::fsync(opened.get()) != 0)
    return absl::ErrnoToStatus(errno, fmt::format("journal {}: cannot sync its folder", path));
  return absl::OkStatus();
}

// Bytes 18 and 19 say whether the file has a write-ahead log; where they do not, SQLite leaves the log alone and
// unread.
absl::Status CheckHeader(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, fmt::format("journal {}: cannot be opened", path));
  char header[100] = {};
  const ssize_t got = ::pread(file.get(), header, sizeof(header), 0);
  if (got < 0) return absl::ErrnoToStatus(errno, fmt::format("journal {}: cannot be read", path));
  if (got < static_cast<ssize_t>(sizeof(header)) || std::memcmp(header, "SQLite format 3", 16) != 0)
    return absl::DataLossError("it does not begin as an SQLite file does");
  if (header[18] != 2 || header[19] != 2) return absl::DataLossError("its header does not say that it has a log");
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareFile(const std::string& path) {
  const int64_t size = SizeOf(path), log_size = SizeOf(path + "-wal");
  if (size <= 0 && log_size > 0)
    return absl::DataLossError(
        fmt::format("its log {}-wal is there, the file itself is {}", path, size < 0 ? "not" : "empty"));
  if (size < 0) return Create(path);
  // A new file that was being given its header: SQLite takes that back.
  if (size == 0 || SizeOf(path + "-journal") > 0) return absl::OkStatus();
  if (absl::Status status = CheckHeader(path); !status.ok()) return status;
  return CheckLog(path + "-wal");
}

}  // namespace filigree::coordinator
