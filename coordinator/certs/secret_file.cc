#include "coordinator/certs/secret_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace filigree::certs {
namespace {

absl::Status Failed(const std::string& path, const char* what) {
  const std::string text = fmt::format("{}: cannot be {}: {}", path, what, std::strerror(errno));
  if (errno == EEXIST)
    return absl::AlreadyExistsError(
        fmt::format("{}: is there already, and keys are never overwritten; move it away "
                    "first if it is to be replaced",
                    path));
  if (errno == ENOENT) return absl::NotFoundError(text);
  if (errno == EACCES || errno == EPERM || errno == EROFS) return absl::PermissionDeniedError(text);
  return absl::UnavailableError(text);
}

absl::Status WriteAll(int file, const std::string& path, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = write(file, bytes.data() + at, bytes.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Failed(path, "written");
    at += static_cast<size_t>(count);
  }
  return fsync(file) == 0 ? absl::OkStatus() : Failed(path, "written");
}

absl::Status WriteNewFile(const std::string& path, const std::string& bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return Failed(path, "made");
  absl::Status status = WriteAll(file, path, bytes);
  if (close(file) != 0 && status.ok()) status = Failed(path, "written");
  if (!status.ok()) unlink(path.c_str());
  return status;
}

}  // namespace

absl::Status WriteNewFiles(const std::vector<std::pair<std::string, std::string>>& paths_and_bytes) {
  for (size_t i = 0; i < paths_and_bytes.size(); ++i) {
    const absl::Status status = WriteNewFile(paths_and_bytes[i].first, paths_and_bytes[i].second);
    if (status.ok()) continue;
    while (i > 0) unlink(paths_and_bytes[--i].first.c_str());
    return status;
  }
  return absl::OkStatus();
}

}  // namespace filigree::certs
