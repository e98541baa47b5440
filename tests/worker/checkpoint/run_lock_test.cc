#include "worker/checkpoint/run_lock.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

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

TEST_F(RunLockTest, AFolderThatIsMissing) {
  EXPECT_TRUE(absl::IsNotFound(RunLock::Acquire(run_ + "/nothing").status()));
}

}  // namespace
}  // namespace filigree::checkpoint
