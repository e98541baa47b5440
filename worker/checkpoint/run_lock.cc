#include "worker/checkpoint/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <thread>

#include "worker/checkpoint/commit.h"

namespace filigree::checkpoint {
namespace {

constexpr char kGeneration[] = "generation ";
constexpr char kOfJob[] = " of ";
constexpr char kBeforeProcess[] = ", process ";
constexpr char kNameless[] = "another process";

std::string HolderText(const RunLock::Generation& generation) {
  char host[HOST_NAME_MAX + 1] = {};
  if (::gethostname(host, HOST_NAME_MAX) != 0) host[0] = '?';
  const std::string process = fmt::format("process {} on {}\n", ::getpid(), host);
  if (generation.number == 0) return process;
  return fmt::format("{}{}{}{}, {}", kGeneration, generation.number, kOfJob, generation.job, process);
}

// What the holder wrote, one line.
std::string ReadHolder(int fd) {
  char text[512] = {};
  const ssize_t n = ::pread(fd, text, sizeof(text) - 1, 0);
  std::string line;
  for (ssize_t i = 0; i < n && text[i] >= ' ' && text[i] <= '~'; ++i) line += text[i];
  return line.empty() ? kNameless : line;
}

// Whatever does not say a generation is without one.
RunLock::Generation GenerationIn(const std::string& holder) {
  const std::string before = kGeneration, of_job = kOfJob;
  RunLock::Generation generation;
  if (!holder.starts_with(before)) return {};
  const char* end = holder.data() + holder.size();
  const auto [at, code] = std::from_chars(holder.data() + before.size(), end, generation.number);
  const size_t job = static_cast<size_t>(at - holder.data());
  const size_t job_end = holder.find(kBeforeProcess, job);
  if (code != std::errc() || generation.number < 1 || job_end == std::string::npos) return {};
  if (holder.compare(job, of_job.size(), of_job) != 0 || job_end < job + of_job.size()) return {};
  generation.job = holder.substr(job + of_job.size(), job_end - job - of_job.size());
  return generation;
}

// Is `path` the name of this very file?
bool Names(const std::string& path, int fd) {
  struct stat named = {}, opened = {};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 && named.st_dev == opened.st_dev &&
         named.st_ino == opened.st_ino;
}

absl::Status Later(const std::string& path, const std::string& holder) {
  return Superseded(fmt::format("{} belongs to {}: this generation is over", path, holder));
}

constexpr int kMostLooks = 1000;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

absl::StatusOr<RunLock> RunLock::Replace(const std::string& path, const Generation& generation) {
  const std::string mine = fmt::format("{}.g{}.{}", path, generation.number, ::getpid());
  ::unlink(mine.c_str());  // of a process with this number that did not come further
  Descriptor file(::open(mine.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot create {}", mine));
  const std::string holder = HolderText(generation);
  errno = ENOSPC;
  const bool written = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 &&
                       ::pwrite(file.get(), holder.data(), holder.size(), 0) == static_cast<ssize_t>(holder.size());
  if (written && ::rename(mine.c_str(), path.c_str()) == 0) return RunLock(file.Release(), path, generation);
  const absl::Status status = absl::ErrnoToStatus(errno, fmt::format("cannot put a lock at {}", path));
  ::unlink(mine.c_str());
  return status;
}

absl::StatusOr<RunLock> RunLock::Acquire(const std::string& run_dir, const Generation& generation) {
  const std::string path = run_dir + "/lock";
  for (int looks = 0;; ++looks) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (file.get() < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot open {}", path));
    const bool free = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
    if (!free && errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, fmt::format("cannot lock {}", path));
    if (!Names(path, file.get())) continue;  // somebody has replaced it just now
    const std::string holder = ReadHolder(file.get());
    if (!free && holder == kNameless && looks < kMostLooks) {  // it is just taking it and has not said who it is
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    const Generation held = GenerationIn(holder);
    const bool same_job = generation.number > 0 && held.number > 0 && held.job == generation.job;
    if (same_job && held.number > generation.number) return Later(path, holder);
    if (!free && (!same_job || held.number == generation.number)) {
      return absl::FailedPreconditionError(fmt::format(
          "the run folder {} is in use by {}; stop that process first or give another run.dir", run_dir, holder));
    }
    if (generation.number > 0) return Replace(path, generation);
    const std::string text = HolderText(generation);
    // Only a hint for people: on a full disk the lock holds all the same.
    if (::ftruncate(file.get(), 0) == 0) [[maybe_unused]]
      const ssize_t written = ::pwrite(file.get(), text.data(), text.size(), 0);
    return RunLock(file.Release(), path, generation);
  }
}

absl::Status RunLock::Check() {
  if (generation_.number == 0 || Names(path_, fd_)) return absl::OkStatus();
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno != ENOENT) return absl::ErrnoToStatus(errno, fmt::format("cannot open {}", path_));
  if (file.get() >= 0) {
    const std::string holder = ReadHolder(file.get());
    const Generation held = GenerationIn(holder);
    const bool earlier = held.job == generation_.job && held.number > 0 && held.number < generation_.number;
    if (!earlier) return Later(path_, holder);
  }
  absl::StatusOr<RunLock> again = Replace(path_, generation_);
  if (!again.ok()) return again.status();
  *this = *std::move(again);
  return absl::OkStatus();
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace filigree::checkpoint
