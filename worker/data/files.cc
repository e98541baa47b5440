#include "worker/data/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace filigree::data {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

absl::Status SystemError(int error, const std::string& path, const std::string& doing) {
  const std::string message = fmt::format("{}: cannot {}: {}", path, doing, std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message + "; choose a place you may write to, or change its permissions");
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message + "; make room or choose another place");
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, int64_t max_bytes) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const std::string message = fmt::format("{}: cannot open: {}", path, std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::DataLossError(message);
  }
  struct stat info {};
  if (fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::DataLossError(fmt::format("{}: is no regular file", path));
  }
  if (info.st_size > max_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("{}: {} bytes, above the limit of {}", path, info.st_size, max_bytes));
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t part = read(file.fd, content.data() + done, content.size() - done);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return absl::DataLossError(fmt::format("{}: cannot read: {}", path, std::strerror(errno)));
    if (part == 0) break;
    done += static_cast<size_t>(part);
  }
  content.resize(done);
  return content;
}

absl::StatusOr<std::string> ReadStream(std::FILE* stream, const std::string& name, int64_t max_bytes) {
  std::string content;
  std::array<char, 1 << 16> block{};
  while (const size_t part = std::fread(block.data(), 1, block.size(), stream)) {
    content.append(block.data(), part);
    if (static_cast<int64_t>(content.size()) > max_bytes) {
      return absl::ResourceExhaustedError(fmt::format("{}: more than the limit of {} bytes", name, max_bytes));
    }
  }
  if (std::ferror(stream) != 0)
    return absl::DataLossError(fmt::format("{}: cannot read: {}", name, std::strerror(errno)));
  return content;
}

absl::StatusOr<std::string> ReadInput(const std::string& path, int64_t max_bytes) {
  if (path.empty() || path == "-") return ReadStream(stdin, "standard input", max_bytes);
  struct stat info {};
  const bool stream = stat(path.c_str(), &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode));
  if (!stream) return ReadWholeFile(path, max_bytes);
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return absl::DataLossError(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  return ReadStream(file.get(), path, max_bytes);
}

absl::Status WriteWholeFile(const std::string& path, const std::string& content) {
  const Descriptor file{open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (file.fd < 0) return SystemError(errno, path, "create");
  for (size_t done = 0; done < content.size();) {
    const ssize_t part = write(file.fd, content.data() + done, content.size() - done);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return SystemError(errno, path, "write");
    done += static_cast<size_t>(part);
  }
  if (fsync(file.fd) != 0) return SystemError(errno, path, "sync to disk");
  return absl::OkStatus();
}

}  // namespace filigree::data
