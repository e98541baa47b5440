#include "worker/checkpoint/run_lock.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "worker/checkpoint/commit.h"

// One live process a run folder; the dead leave nothing that stops the living.

namespace filigree::checkpoint {
namespace {

class RunLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(run_);
    std::filesystem::create_directories(run_);
  }
  void TearDown() override { std::filesystem::remove_all(run_); }

  // A child that takes the lock, says so and waits until it is killed.
  pid_t StartHolder() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto lock = RunLock::Acquire(run_);
      const char answer = lock.ok() ? 'y' : 'n';
      if (::write(ready[1], &answer, 1) != 1) _exit(1);
      for (;;) ::pause();
    }
    char answer = '?';
    EXPECT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
    return child;
  }

  const std::string run_ = ::testing::TempDir() + "/filigree_run_lock_test";
};

TEST_F(RunLockTest, ALiveHolderIsNamedAndADeadOneForgotten) {
  const pid_t holder = StartHolder();
  auto refused = RunLock::Acquire(run_);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_NE(refused.status().message().find(fmt::format("in use by process {} on ", holder)), absl::string_view::npos)
      << refused.status();
  EXPECT_NE(refused.status().message().find(run_), absl::string_view::npos);
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  auto lock = RunLock::Acquire(run_);
  EXPECT_TRUE(lock.ok()) << lock.status();
}

TEST_F(RunLockTest, TheSecondInOneProcessIsRefusedUntilTheFirstGoes) {
  {
    auto first = RunLock::Acquire(run_);
    ASSERT_TRUE(first.ok());
    RunLock moved = std::move(*first);
    EXPECT_FALSE(RunLock::Acquire(run_).ok());
  }
  EXPECT_TRUE(RunLock::Acquire(run_).ok());
}

TEST_F(RunLockTest, AHostileLockFileIsOnlyText) {
  const pid_t holder = StartHolder();
  std::ofstream(run_ + "/lock", std::ios::trunc) << "\x1b[31mred" << std::string(10000, 'x');
  auto refused = RunLock::Acquire(run_);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_EQ(refused.status().message().find('\x1b'), absl::string_view::npos);
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
}

// A holder of a generation, in a child that can be stopped; it answers with what Check says, a letter a line.
class Generations : public RunLockTest {
 protected:
  struct Child {
    pid_t pid = 0;
    int ask = -1, answer = -1;
  };
  Child StartGeneration(int64_t number, const std::string& job = "job-1") {
    int ask[2], answer[2];
    EXPECT_EQ(::pipe(ask) + ::pipe(answer), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto lock = RunLock::Acquire(run_, {number, job});
      char letter = Letter(lock.status());
      while (::write(answer[1], &letter, 1) == 1 && ::read(ask[0], &letter, 1) == 1) letter = Letter(lock->Check());
      _exit(0);
    }
    ::close(ask[0]);
    ::close(answer[1]);
    return {child, ask[1], answer[0]};
  }
  static char Letter(const absl::Status& status) {
    return status.ok() ? 'y' : IsSuperseded(status) ? 's' : absl::IsFailedPrecondition(status) ? 'u' : '?';
  }
  static char Answer(const Child& child) {
    char letter = '?';
    return ::read(child.answer, &letter, 1) == 1 ? letter : '!';
  }
  static char AskAgain(const Child& child) {
    EXPECT_EQ(::write(child.ask, "c", 1), 1);
    return Answer(child);
  }
  static void End(const Child& child) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    ::close(child.ask);
    ::close(child.answer);
  }
  char Take(int64_t number, const std::string& job = "job-1") {
    return Letter(RunLock::Acquire(run_, {number, job}).status());
  }
  std::string LockText() const {
    std::ifstream in(run_ + "/lock");
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(Generations, ALaterOneTakesTheFolderFromAStoppedProcessWhichLeavesWhenItWakesUp) {
  const Child stopped = StartGeneration(9);
  ASSERT_EQ(Answer(stopped), 'y');
  EXPECT_EQ(AskAgain(stopped), 'y');
  ::kill(stopped.pid, SIGSTOP);
  auto later = RunLock::Acquire(run_, {10, "job-1"});  // not in the order of letters
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_TRUE(LockText().starts_with(fmt::format("generation 10 of job-1, process {} on ", ::getpid()))) << LockText();
  ::kill(stopped.pid, SIGCONT);
  EXPECT_EQ(AskAgain(stopped), 's');
  EXPECT_TRUE(later->Check().ok());
  End(stopped);
}

TEST_F(Generations, AnEarlierOneIsRefusedForEver) {
  {
    auto lock = RunLock::Acquire(run_, {7, "job-1"});
    ASSERT_TRUE(lock.ok());
    EXPECT_EQ(Take(6), 's');
    EXPECT_EQ(Take(7), 'u');
  }
  EXPECT_EQ(Take(6), 's');  // also when nobody holds it any more
  EXPECT_EQ(Take(7), 'y');
  EXPECT_EQ(Take(8), 'y');
}

TEST_F(Generations, NobodyElseIsReplaced) {
  {
    auto alone = RunLock::Acquire(run_);
    ASSERT_TRUE(alone.ok());
    EXPECT_EQ(Take(5), 'u');
    EXPECT_TRUE(alone->Check().ok());
  }
  auto lock = RunLock::Acquire(run_, {5, "job-1"});
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(Take(9, "job-2"), 'u');
  const absl::Status refused = RunLock::Acquire(run_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_NE(refused.message().find("in use by generation 5 of job-1, process"), absl::string_view::npos) << refused;
  EXPECT_TRUE(lock->Check().ok());
}

TEST_F(Generations, AnotherJobOrARunByHandMayFollow) {
  EXPECT_EQ(Take(9), 'y');
  EXPECT_EQ(Take(1, "job-2"), 'y');
  { EXPECT_TRUE(RunLock::Acquire(run_).ok()); }
  EXPECT_EQ(Take(1, "job-3"), 'y');
}

// It was on its way when the later one took the folder, and comes through after it.
TEST_F(Generations, WhatAnEarlierOneTookByALateRenameIsTakenBack) {
  auto later = RunLock::Acquire(run_, {4, "job-1"});
  ASSERT_TRUE(later.ok());
  std::ofstream(run_ + "/late") << "generation 3 of job-1, process 1 on elsewhere\n";
  std::filesystem::rename(run_ + "/late", run_ + "/lock");
  EXPECT_TRUE(later->Check().ok());
  EXPECT_TRUE(LockText().starts_with("generation 4 of job-1,")) << LockText();
  EXPECT_EQ(Take(3), 's');
  EXPECT_EQ(Take(4), 'u');
  // What a later one took is not.
  std::ofstream(run_ + "/late") << "generation 5 of job-1, process 1 on elsewhere\n";
  std::filesystem::rename(run_ + "/late", run_ + "/lock");
  EXPECT_TRUE(IsSuperseded(later->Check()));
  // Nor what says nothing that can be understood.
  for (const char* text :
       {"", "generation 3 of job-1", "generation x of job-1, process 1", "generation -3 of job-1, process 1",
        "generation 3 of job-2, process 1", "generation 99999999999999999999 of job-1, process 1"}) {
    std::ofstream(run_ + "/lock", std::ios::trunc) << text;
    EXPECT_TRUE(IsSuperseded(later->Check())) << text;
  }
  std::filesystem::remove(run_ + "/lock");
  EXPECT_TRUE(later->Check().ok());
  EXPECT_TRUE(LockText().starts_with("generation 4 of job-1,")) << LockText();
}

TEST_F(Generations, ManyAtOnceEndWithTheLatest) {
  for (int round = 0; round < 20; ++round) {
    std::filesystem::remove(run_ + "/lock");
    std::vector<Child> children;
    for (int64_t g = 1; g <= 4; ++g) children.push_back(StartGeneration(1 + (g + round) % 4));
    std::vector<char> first;
    for (const Child& child : children) first.push_back(Answer(child));
    for (int again = 0; again < 2; ++again) {
      for (size_t i = 0; i < children.size(); ++i) {
        if (first[i] == 'y') first[i] = AskAgain(children[i]);
      }
    }
    for (size_t i = 0; i < children.size(); ++i) {
      EXPECT_EQ(first[i], 1 + (static_cast<int>(i) + 1 + round) % 4 == 4 ? 'y' : 's') << round;
      End(children[i]);
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(run_)) EXPECT_EQ(entry.path().filename(), "lock");
}

TEST_F(RunLockTest, AFolderThatIsMissing) {
  EXPECT_TRUE(absl::IsNotFound(RunLock::Acquire(run_ + "/nothing").status()));
}

}  // namespace
}  // namespace filigree::checkpoint
