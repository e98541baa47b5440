#include "worker/agent/children.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace filigree::agent {
namespace {

using std::chrono::milliseconds;

Command Shell(const std::string& script, const std::string& folder = "/") {
  return {"/bin/sh", {"sh", "-c", script}, {"PATH=/usr/bin:/bin", "WORD=kept"}, folder};
}

// One line of what a child prints, waited for.
std::string Line(const Child& child) {
  std::string line;
  pollfd stream = {child.output, POLLIN, 0};
  char c = 0;
  while (poll(&stream, 1, 10'000) > 0 && read(child.output, &c, 1) == 1 && c != '\n') line += c;
  return line;
}

bool Eventually(const std::function<bool()>& is) {
  for (int i = 0; i < 2000; ++i, std::this_thread::sleep_for(milliseconds(5)))
    if (is()) return true;
  return false;
}

// As the kernel tells it: 'S' sleeps, 'Z' has ended; 0: nobody knows.
char StateOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= text.size() ? '\0' : text[name_end + 2];
}

bool Gone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

Ended WaitFor(Children& children) {
  std::vector<Ended> ended;
  EXPECT_TRUE(Eventually([&] {
    ended = children.Reap();
    return !ended.empty();
  }));
  return ended.empty() ? Ended() : ended.front();
}

TEST(Children, HaveWhatTheyAreGivenAndNothingElse) {
  Children children;
  const int open_file = open("/dev/zero", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(open_file, 0);
  std::signal(SIGPIPE, SIG_IGN);
  const auto child =
      children.Start(Shell("read x; echo $x $WORD $HOME $(pwd); grep SigIgn /proc/$$/status\n"
                           "for file in /proc/$$/fd/*; do readlink $file; done; true",
                           "/usr"));
  close(open_file);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(Line(*child), "kept /usr");
  EXPECT_EQ(Line(*child), "SigIgn:\t0000000000000000");
  EXPECT_EQ(Line(*child), "/dev/null");
  for (std::string file = Line(*child); !file.empty(); file = Line(*child)) EXPECT_NE(file, "/dev/zero");
  const Ended ended = WaitFor(children);
  EXPECT_EQ(ended.pid, child->pid);
  EXPECT_TRUE(WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == 0);
  EXPECT_TRUE(children.empty());
  close(child->output);
}

TEST(Children, AreSoonerChosenWhenMemoryRunsOut) {
  Children children;
  const auto child = children.Start(Shell("cat /proc/self/oom_score_adj"));
  ASSERT_TRUE(child.ok());
  EXPECT_GE(std::stoi(Line(*child)), 300);
  WaitFor(children);
  close(child->output);
}

TEST(Children, WhatCannotBeStartedIsExplained) {
  Children children;
  Command command = Shell("true");
  command.program = "/no/such/program";
  const auto program = children.Start(command);
  EXPECT_TRUE(absl::IsNotFound(program.status())) << program.status();
  EXPECT_NE(std::string(program.status().message()).find("/no/such/program"), std::string::npos);
  const auto folder = children.Start(Shell("true", "/no/such/folder"));
  EXPECT_NE(std::string(folder.status().message()).find("/no/such/folder"), std::string::npos) << folder.status();
  EXPECT_TRUE(children.empty());
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // nothing is left behind
}

TEST(Children, GrandchildrenEndWithThem) {
  Children children;
  const auto child = children.Start(Shell("sleep 1000 & echo $!; exit 3"));
  ASSERT_TRUE(child.ok());
  const pid_t grandchild = std::stoi(Line(*child));
  const Ended ended = WaitFor(children);
  EXPECT_EQ(WEXITSTATUS(ended.status), 3);
  EXPECT_TRUE(Gone(grandchild));  // already when the end is told
  close(child->output);
}

TEST(Children, NoDescendantEscapesIntoAnotherGroup) {
  Children children;
  const auto child = children.Start(Shell("setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000"));
  ASSERT_TRUE(child.ok());
  const pid_t escaped = std::stoi(Line(*child));
  ASSERT_NE(getpgid(escaped), child->pid);
  children.Kill(child->pid);
  const Ended ended = WaitFor(children);
  EXPECT_EQ(WTERMSIG(ended.status), SIGKILL);
  EXPECT_TRUE(Gone(escaped));
  close(child->output);
}

TEST(Children, AllAreKilledAndNoneIsStartedUntilOpened) {
  Children children;
  std::vector<Child> started;
  for (int i = 0; i < 3; ++i) {
    const auto child = children.Start(Shell("trap '' TERM INT HUP; echo up; sleep 1000"));
    ASSERT_TRUE(child.ok());
    EXPECT_EQ(Line(*child), "up");
    started.push_back(*child);
  }
  children.KillAll();
  EXPECT_TRUE(absl::IsFailedPrecondition(children.Start(Shell("true")).status()));
  for (int i = 0; i < 3;) {
    for (const Ended& ended : children.Reap()) {
      EXPECT_EQ(WTERMSIG(ended.status), SIGKILL);
      ++i;
    }
  }
  EXPECT_TRUE(children.empty());
  children.Open();
  EXPECT_TRUE(children.Start(Shell("true")).ok());
  WaitFor(children);
}

// As far as that thread gets which ends ranks with the lease: nobody reaps here.
TEST(Children, AllAreKilledWithWhatIsInOtherGroups) {
  Children children;
  const auto child = children.Start(Shell("setsid sh -c 'setsid sleep 1000 & echo $!; wait' & wait"));
  ASSERT_TRUE(child.ok());
  const pid_t escaped = std::stoi(Line(*child));
  ASSERT_TRUE(Eventually([&] { return getpgid(escaped) == escaped; }));
  children.KillAll();
  EXPECT_TRUE(Eventually([&] { return StateOf(escaped) == 'Z' || Gone(escaped); }));
  close(child->output);
}

// A process of its own that starts a child and then ends without a word.
TEST(Children, DoNotOutliveTheirParent) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t parent = fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    Children children;
    const auto child = children.Start(Shell("sleep 1000"));
    const pid_t pid = child.ok() ? child->pid : -1;
    [[maybe_unused]] const ssize_t written = write(ends[1], &pid, sizeof pid);
    pause();
    _exit(0);
  }
  pid_t grandchild = -1;
  ASSERT_EQ(read(ends[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  ASSERT_GT(grandchild, 0);
  EXPECT_EQ(kill(grandchild, 0), 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  EXPECT_TRUE(Eventually([&] {
    waitpid(grandchild, nullptr, WNOHANG);  // ours by now, where this process adopts orphans
    return Gone(grandchild);
  }));
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace filigree::agent
