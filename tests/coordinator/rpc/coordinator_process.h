#ifndef FILIGREE_TESTS_COORDINATOR_RPC_COORDINATOR_PROCESS_H_
#define FILIGREE_TESTS_COORDINATOR_RPC_COORDINATOR_PROCESS_H_

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace filigree::coordinator {

// `filigree coordinator` in a process of its own, on a journal; the program's path is in FILIGREE_PROGRAM. Killed where
// it still runs at the end.
class CoordinatorProcess {
 public:
  explicit CoordinatorProcess(std::string journal, std::vector<std::string> flags = {})
      : journal_(std::move(journal)), flags_(std::move(flags)) {}
  ~CoordinatorProcess() { Kill(); }
  CoordinatorProcess(const CoordinatorProcess&) = delete;
  CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;

  // Starts it, on the port it had before; false: it said something else than where it listens, which is in `said`.
  bool Start() {
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0) return false;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
    posix_spawn_file_actions_addclose(&actions, pipe_ends[1]);
    const char* program = std::getenv("FILIGREE_PROGRAM");
    std::vector<std::string> words = {program == nullptr ? "filigree" : program, "coordinator", "--quiet", "--listen",
                                      address.empty() ? "127.0.0.1:0" : address, "--journal",   journal_};
    words.insert(words.end(), flags_.begin(), flags_.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int error = posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
    if (error != 0) pid_ = -1;
    const bool listens = error == 0 && ReadAddress(pipe_ends[0]);
    close(pipe_ends[0]);
    return listens;
  }

  // As the machine would: no time to say anything.
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  pid_t pid() const { return pid_; }
  std::string address;  // once it listens
  std::string said;     // up to there

 private:
  bool ReadAddress(int stream) {
    const std::string key = "listens on ";
    said.clear();
    char c = 0;
    while (read(stream, &c, 1) == 1) {
      said += c;
      const size_t at = said.find(key);
      const size_t end = at == std::string::npos ? at : said.find(": ", at);
      if (end == std::string::npos) continue;
      address = said.substr(at + key.size(), end - at - key.size());
      return true;
    }
    return false;
  }

  const std::string journal_;
  const std::vector<std::string> flags_;
  pid_t pid_ = -1;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_RPC_COORDINATOR_PROCESS_H_
