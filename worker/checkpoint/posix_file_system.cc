#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "worker/checkpoint/file_system.h"

namespace filigree::checkpoint {
namespace {

absl::Status Failure(const char* operation, const std::string& path) {
  const int error = errno;
  return absl::ErrnoToStatus(error, fmt::format("cannot {} {}", operation, path));
}

class PosixReadableFile : public ReadableFile {
 public:
  PosixReadableFile(int fd, uint64_t size, std::string path) : fd_(fd), size_(size), path_(std::move(path)) {}
  ~PosixReadableFile() override { ::close(fd_); }
  uint64_t size() const override { return size_; }

  absl::Status ReadAt(uint64_t offset, void* to, size_t n) const override {
    auto* out = static_cast<char*>(to);
    while (n > 0) {
      const ssize_t got = ::pread(fd_, out, n, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Failure("read", path_);
      if (got == 0) return absl::DataLossError(fmt::format("{} ends at byte {}, {} more expected", path_, offset, n));
      out += got;
      offset += static_cast<uint64_t>(got);
      n -= static_cast<size_t>(got);
    }
    return absl::OkStatus();
  }

 private:
  int fd_;
  uint64_t size_;
  std::string path_;
};

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixWritableFile() override {
    if (fd_ >= 0) ::close(fd_);
  }

  absl::Status Append(const void* data, size_t n) override {
    const auto* from = static_cast<const char*>(data);
    while (n > 0) {
      const ssize_t done = ::write(fd_, from, n);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return Failure("write", path_);
      from += done;
      n -= static_cast<size_t>(done);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override { return ::fsync(fd_) == 0 ? absl::OkStatus() : Failure("sync", path_); }

  absl::Status Close() override {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0 ? absl::OkStatus() : Failure("close", path_);
  }

 private:
  int fd_;
  std::string path_;
};

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Failure("open", path);
    struct stat about = {};
    if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
      ::close(fd);
      return absl::FailedPreconditionError(fmt::format("{} is not a regular file", path));
    }
    return std::make_unique<PosixReadableFile>(fd, static_cast<uint64_t>(about.st_size), path);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return Failure("create", path);
    return std::make_unique<PosixWritableFile>(fd, path);
  }

  absl::Status CreateFolder(const std::string& path) override {
    if (::mkdir(path.c_str(), 0755) == 0) return absl::OkStatus();
    struct stat about = {};
    if (errno == EEXIST && ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode)) return absl::OkStatus();
    return Failure("create the folder", path);
  }

  absl::Status SyncFolder(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Failure("open the folder", path);
    absl::Status status = ::fsync(fd) == 0 ? absl::OkStatus() : Failure("sync the folder", path);
    ::close(fd);
    return status;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : Failure("rename a file to", to);
  }

  absl::Status RemoveFile(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : Failure("remove", path);
  }

  absl::Status RemoveFolder(const std::string& path) override {
    return ::rmdir(path.c_str()) == 0 ? absl::OkStatus() : Failure("remove the folder", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return Failure("list", path);
    std::vector<std::string> names;
    errno = 0;  // the end of a folder and an error look alike but for this: half of a list is no list
    while (const dirent* entry = ::readdir(folder)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    absl::Status status = errno == 0 ? absl::OkStatus() : Failure("list", path);
    ::closedir(folder);
    if (!status.ok()) return status;
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<bool> Exists(const std::string& path) override {
    if (::access(path.c_str(), F_OK) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return Failure("look at", path);
  }
};

}  // namespace

FileSystem& RealFileSystem() {
  static PosixFileSystem files;
  return files;
}

absl::StatusOr<std::string> ReadFile(FileSystem& files, const std::string& path, uint64_t max_bytes) {
  auto file = files.OpenForRead(path);
  if (!file.ok()) return file.status();
  const uint64_t size = (*file)->size();
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(fmt::format("{} has {} bytes, at most {} are read", path, size, max_bytes));
  }
  std::string text(size, '\0');
  absl::Status status = (*file)->ReadAt(0, text.data(), size);
  if (!status.ok()) return status;
  return text;
}

}  // namespace filigree::checkpoint
