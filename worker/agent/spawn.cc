#include "worker/agent/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace filigree::agent {
namespace {

// Why the new process could not become the program.
struct Failure {
  enum Stage : int { kNone, kFolder, kOutput, kProgram, kParent } stage = kNone;
  int error = 0;
};

// All that is needed between fork and exec, made before: there only calls are allowed that a signal handler may make,
// because another thread may hold any lock.
struct Prepared {
  std::vector<char*> arguments, environment;
  std::string oom_score;
  pid_t parent = 0;
  int most_files = 0;
  int output = -1, report = -1;
};

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// More than our own: where memory runs out a rank goes first, and we tell of it.
std::string OomScore() {
  int ours = 0;
  if (std::FILE* file = std::fopen("/proc/self/oom_score_adj", "re"); file != nullptr) {
    if (std::fscanf(file, "%d", &ours) != 1) ours = 0;
    std::fclose(file);
  }
  return fmt::format("{}", std::min(ours + 300, 1000));
}

Prepared Prepare(const Command& command) {
  Prepared prepared;
  prepared.arguments = Pointers(command.arguments);
  prepared.environment = Pointers(command.environment);
  prepared.oom_score = OomScore();
  prepared.parent = getpid();
  prepared.most_files = static_cast<int>(std::clamp(sysconf(_SC_OPEN_MAX), 256L, 65536L));
  return prepared;
}

void DefaultSignals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigemptyset(&action.sa_mask);
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void WriteOomScore(const std::string& score) {
  const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = write(file, score.data(), score.size());
  close(file);
}

bool SetStreams(int output) {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
         dup2(output, STDERR_FILENO) >= 0;
}

void CloseOthersAtExec(int most_files) {
  if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  for (int file = STDERR_FILENO + 1; file < most_files; ++file) fcntl(file, F_SETFD, FD_CLOEXEC);
}

[[noreturn]] void Fail(int report, Failure::Stage stage, int error) {
  const Failure failure = {stage, error};
  [[maybe_unused]] const ssize_t written = write(report, &failure, sizeof failure);
  _exit(127);
}

[[noreturn]] void Become(const Command& command, const Prepared& prepared) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Whoever started us may have ended before that was set.
  if (getppid() != prepared.parent) Fail(prepared.report, Failure::kParent, ESRCH);
  DefaultSignals();
  WriteOomScore(prepared.oom_score);
  if (!SetStreams(prepared.output)) Fail(prepared.report, Failure::kOutput, errno);
  if (chdir(command.folder.c_str()) != 0) Fail(prepared.report, Failure::kFolder, errno);
  CloseOthersAtExec(prepared.most_files);
  execve(command.program.c_str(), prepared.arguments.data(), prepared.environment.data());
  Fail(prepared.report, Failure::kProgram, errno);
}

absl::Status Explained(const Command& command, const Failure& failure) {
  switch (failure.stage) {
    case Failure::kFolder:
      return absl::ErrnoToStatus(failure.error, fmt::format("cannot enter the folder {}", command.folder));
    case Failure::kProgram:
      return absl::ErrnoToStatus(failure.error, fmt::format("cannot start {}", command.program));
    default:
      return absl::ErrnoToStatus(failure.error, "cannot set up a new process");
  }
}

// Holds back signals of this thread, so that no handler of ours runs in the new process.
class HeldSignals {
 public:
  HeldSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

 private:
  sigset_t before_{};
};

struct Pipe {
  int read = -1, write = -1;
};

absl::StatusOr<Pipe> OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe for a new process");
  return Pipe{ends[0], ends[1]};
}

// What the new process could not do; it ends without a word when the program runs.
Failure ReadFailure(int report) {
  Failure failure;
  ssize_t count = 0;
  do {
    count = read(report, &failure, sizeof failure);
  } while (count < 0 && errno == EINTR);
  if (count != static_cast<ssize_t>(sizeof failure)) failure.stage = Failure::kNone;
  return failure;
}

}  // namespace

absl::StatusOr<Forked> Fork(const Command& command) {
  Prepared prepared = Prepare(command);
  const absl::StatusOr<Pipe> output = OpenPipe();
  if (!output.ok()) return output.status();
  const absl::StatusOr<Pipe> report = OpenPipe();
  if (!report.ok()) {
    close(output->read);
    close(output->write);
    return report.status();
  }
  prepared.output = output->write;
  prepared.report = report->write;
  Forked forked = {{-1, output->read}, report->read};
  int error = 0;
  {
    const HeldSignals held;
    forked.child.pid = fork();
    error = errno;
    if (forked.child.pid == 0) Become(command, prepared);
  }
  close(output->write);
  close(report->write);
  if (forked.child.pid < 0) {
    close(output->read);
    close(report->read);
    return absl::ErrnoToStatus(error, "cannot fork a new process");
  }
  // Both sides do it: whichever comes first, the group is there before anybody asks for it.
  setpgid(forked.child.pid, forked.child.pid);
  fcntl(output->read, F_SETFL, O_NONBLOCK);
  return forked;
}

absl::Status AwaitProgram(const Command& command, const Forked& forked) {
  const Failure failure = ReadFailure(forked.report);
  close(forked.report);
  if (failure.stage == Failure::kNone) return absl::OkStatus();
  close(forked.child.output);
  return Explained(command, failure);
}

}  // namespace filigree::agent
