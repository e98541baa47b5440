#ifndef FILIGREE_TESTS_WORKER_ATTACH_PROGRAM_H_
#define FILIGREE_TESTS_WORKER_ATTACH_PROGRAM_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/patience.h"

extern char** environ;

namespace filigree::attach {

// The program `filigree`, whose path is in FILIGREE_PROGRAM, in a process of its own. Killed where it still runs at the
// end.
class Program {
 public:
  // `output`: a file for what it says. `variables`: "NAME=value", beside those of this process.
  Program(std::vector<std::string> words, std::string output, std::vector<std::string> variables = {})
      : output_(std::move(output)) {
    const char* const program = std::getenv("FILIGREE_PROGRAM");
    words.insert(words.begin(), program == nullptr ? "filigree" : program);
    for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int error =
        posix_spawnp(&pid_, words[0].c_str(), &actions, nullptr, Pointers(words).data(), Pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(error, 0) << words[0];
  }
  ~Program() {
    if (ended_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Signal(int signal) const { kill(pid_, signal); }

  // Its exit code, or the signal that ended it as a negative number; -1000: neither within that time.
  int Wait(std::chrono::seconds most = Patience(std::chrono::seconds(90))) {
    const auto end = std::chrono::steady_clock::now() + most;
    while (!ended_ && std::chrono::steady_clock::now() < end) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    return ended_.value_or(-1000);
  }

  // So far.
  std::string Said() const {
    std::ifstream file(output_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
  }

  const std::string output_;
  pid_t pid_ = -1;
  std::optional<int> ended_;
};

}  // namespace filigree::attach

#endif  // FILIGREE_TESTS_WORKER_ATTACH_PROGRAM_H_
