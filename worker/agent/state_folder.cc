#include "worker/agent/state_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

namespace filigree::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostSocketBytes = sizeof(sockaddr_un{}.sun_path) - 1;
constexpr size_t kMostLogFiles = 1000;

absl::Status MakeFolder(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, fmt::format("cannot make the folder {}", path));
}

absl::Status CheckPrivate(const std::string& path) {
  struct stat facts = {};
  if (stat(path.c_str(), &facts) != 0) return absl::ErrnoToStatus(errno, fmt::format("cannot look at {}", path));
  if (!S_ISDIR(facts.st_mode)) return absl::InvalidArgumentError(fmt::format("{}: is no folder", path));
  if (facts.st_uid != geteuid() || (facts.st_mode & 077) != 0)
    return absl::PermissionDeniedError(fmt::format("{}: must belong to this user alone (mode {:o}); run: chmod 700 {}",
                                                   path, facts.st_mode & 0777, path));
  return absl::OkStatus();
}

absl::StatusOr<int> Lock(const std::string& folder) {
  const std::string path = folder + "/lock";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot open {}", path));
  if (flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  const int error = errno;
  close(file);
  if (error != EWOULDBLOCK) return absl::ErrnoToStatus(error, fmt::format("cannot lock {}", path));
  return absl::FailedPreconditionError(
      fmt::format("{} is in use by another worker; stop it, or give this one another --name or --state", folder));
}

void RemoveFiles(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    unlink(at->path().c_str());
}

// The oldest log files, so that a worker that lives for years does not fill its disk with them.
void RemoveOldLogs(const std::string& folder) {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->is_regular_file(error)) files.emplace_back(at->last_write_time(error), at->path());
  if (files.size() < kMostLogFiles) return;
  std::sort(files.begin(), files.end());
  for (size_t i = 0; i + kMostLogFiles <= files.size(); ++i) {
    fs::remove(files[i].second, error);
    fs::remove(files[i].second.parent_path(), error);  // where it is empty now
  }
}

}  // namespace

absl::StatusOr<StateFolder> StateFolder::Open(const std::string& path) {
  std::error_code error;
  const std::string absolute = fs::absolute(path, error).lexically_normal().string();
  if (error) return absl::InvalidArgumentError(fmt::format("{}: {}", path, error.message()));
  StateFolder folder(absolute, -1);
  if (folder.socket().size() > kMostSocketBytes)
    return absl::InvalidArgumentError(
        fmt::format("{}: a socket's path has at most {} bytes, this one {}; give a shorter --state", folder.socket(),
                    kMostSocketBytes, folder.socket().size()));
  if (absolute.find_first_of("%?#") != std::string::npos)
    return absl::InvalidArgumentError(fmt::format(
        "{}: ranks reach their socket by a URI, where %, ? and # mean something else; give another --state", absolute));
  const fs::path parent = fs::path(absolute).parent_path();
  if (fs::create_directories(parent, error); error)
    return absl::ErrnoToStatus(error.value(), fmt::format("cannot make the folder {}", parent.string()));
  for (const absl::Status& status : {MakeFolder(absolute, 0700), CheckPrivate(absolute),
                                     MakeFolder(absolute + "/configs", 0700), MakeFolder(absolute + "/logs", 0700)})
    if (!status.ok()) return status;
  const absl::StatusOr<int> lock = Lock(absolute);
  if (!lock.ok()) return lock.status();
  folder.lock_ = *lock;
  // Of a worker that was killed.
  unlink(folder.socket().c_str());
  RemoveFiles(absolute + "/configs");
  return folder;
}

StateFolder::StateFolder(StateFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

StateFolder::~StateFolder() {
  if (lock_ >= 0) close(lock_);
}

absl::StatusOr<std::string> StateFolder::WriteConfig(const std::string& job, const std::string& config) const {
  const std::string path = fmt::format("{}/configs/{}.toml", path_, job);
  // Aside first: ranks that were started just now may be reading the one that is there.
  const std::string aside = path + ".new";
  const int file = open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool written = file >= 0;
  for (size_t at = 0; written && at < config.size();) {
    const ssize_t count = write(file, config.data() + at, config.size() - at);
    written = count > 0;
    if (written) at += static_cast<size_t>(count);
  }
  written = written && rename(aside.c_str(), path.c_str()) == 0;
  const int why = errno;
  if (file >= 0) close(file);
  if (written) return path;
  unlink(aside.c_str());
  return absl::ErrnoToStatus(why, fmt::format("cannot write {}", path));
}

void StateFolder::RemoveConfig(const std::string& job) const {
  unlink(fmt::format("{}/configs/{}.toml", path_, job).c_str());
}

std::string StateFolder::LogPath(const RankId& id) const {
  const std::string folder = fmt::format("{}/logs/{}", path_, id.job);
  RemoveOldLogs(path_ + "/logs");
  mkdir(folder.c_str(), 0700);
  return fmt::format("{}/g{}-rank{}.log", folder, id.generation, id.rank);
}

}  // namespace filigree::agent
