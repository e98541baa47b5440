#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "worker/comm/host_name.h"
#include "worker/comm/key_value.h"

namespace filigree::comm {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// What is in a folder that others write to is not believed to be of any size.
constexpr uintmax_t kMostValueBytes = uintmax_t{16} << 20;

// A file name of its own for every key, short ones readable.
std::string FileName(const std::string& key) {
  std::string name = "key-";
  for (const char c : key) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    name += plain ? std::string(1, c) : fmt::format("_{:02x}", static_cast<unsigned char>(c));
  }
  return name;
}

absl::Status Failed(const char* what, const std::string& path, int error) {
  return absl::UnavailableError(fmt::format("cannot {} {}: {}; all ranks need a folder that they can read and write",
                                            what, path, std::strerror(error)));
}

absl::Status WriteWhole(const std::string& path, const std::string& value) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return Failed("create", path, errno);
  int error = 0;
  for (size_t done = 0; done < value.size() && error == 0;) {
    const ssize_t wrote = write(fd, value.data() + done, value.size() - done);
    if (wrote >= 0) {
      done += static_cast<size_t>(wrote);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (close(fd) != 0 && error == 0) error = errno;
  return error == 0 ? absl::OkStatus() : Failed("write", path, error);
}

// Of the process, not of a store: several stores of one folder must not write the same draft. Nor must several
// processes, nor one in the place of one that was killed: host and number are not enough, as every container's first
// process is number 1.
std::atomic<int> next_draft{0};
uint64_t ProcessToken() {
  static const uint64_t token = [] {
    std::random_device random;
    return uint64_t{random()} << 32 | random();
  }();
  return token;
}

class Folder : public KeyValueStore {
 public:
  explicit Folder(std::string folder) : folder_(std::move(folder)) {}

  // A link is made where there is none yet, or not at all: who comes second sees what the first one wrote.
  absl::Status Set(const std::string& key, const std::string& value) override {
    const std::string path = Path(key);
    const std::string draft = fmt::format("{}/draft-{}-{:016x}-{}", folder_, HostName(), ProcessToken(), next_draft++);
    absl::Status status = WriteWhole(draft, value);
    const int error = status.ok() && link(draft.c_str(), path.c_str()) != 0 ? errno : 0;
    unlink(draft.c_str());
    if (!status.ok()) return status;
    if (error == 0) return absl::OkStatus();
    if (error != EEXIST) return Failed("create", path, error);
    const absl::StatusOr<std::string> there = Get(key, std::chrono::milliseconds(0));
    if (there.ok() && *there == value) return absl::OkStatus();
    return absl::AlreadyExistsError(fmt::format("key {} holds another value already ({})", key, path));
  }

  absl::StatusOr<std::string> Get(const std::string& key, std::chrono::milliseconds deadline) override {
    const std::string path = Path(key);
    const Clock::time_point end = Clock::now() + deadline;
    auto pause = std::chrono::milliseconds(1);
    std::error_code error;
    while (!fs::exists(path, error)) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
      if (left.count() <= 0) {
        return absl::DeadlineExceededError(
            fmt::format("key {} was not set within {} ms ({})", key, deadline.count(), path));
      }
      std::this_thread::sleep_for(std::min(pause, left));
      pause = std::min(2 * pause, std::chrono::milliseconds(50));
    }
    return Read(path);
  }

 private:
  std::string Path(const std::string& key) const { return folder_ + "/" + FileName(key); }

  static absl::StatusOr<std::string> Read(const std::string& path) {
    std::error_code error;
    const uintmax_t bytes = fs::file_size(path, error);
    if (error || bytes > kMostValueBytes) {
      return absl::UnavailableError(fmt::format("{} holds no value of a key", path));
    }
    std::ifstream file(path, std::ios::binary);
    std::string value((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file.is_open() || file.bad()) return Failed("read", path, errno);
    return value;
  }

  const std::string folder_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<KeyValueStore>> FolderStore(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(
        fmt::format("{} is no folder; make one that all ranks see, empty for every new job", folder));
  }
  return std::make_shared<Folder>(folder);
}

}  // namespace filigree::comm
