#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <string>

#include "coordinator/journal/journal.h"
#include "tests/coordinator/journal/sample_history.h"
#include "tests/coordinator/journal/sample_rows.h"

namespace filigree::coordinator {
namespace {

// Goes on with the history where the journal stands, for ever; says the number of every decision that is kept.
[[noreturn]] void WriteAndAcknowledge(const std::string& path, int pipe) {
  const auto journal = Journal::Open(path);
  if (!journal.ok()) std::_Exit(1);
  History history;
  while (history.count() < (*journal)->tables().epoch()) history.Next();
  for (;;) {
    if (!(*journal)->Write(history.Next()).ok()) std::_Exit(2);
    const int64_t count = history.count();
    if (::write(pipe, &count, sizeof(count)) != sizeof(count)) std::_Exit(3);
  }
}

// One life of a writer: killed `after_us` after it has acknowledged `decisions`. Returns the last acknowledged number.
int64_t LiveAndBeKilled(const std::string& path, int64_t decisions, int64_t after_us) {
  int ends[2] = {};
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    WriteAndAcknowledge(path, ends[1]);
  }
  ::close(ends[1]);
  int64_t acknowledged = 0, heard = 0;
  while (heard < decisions && ::read(ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged)) ++heard;
  EXPECT_EQ(heard, decisions);
  ::usleep(static_cast<useconds_t>(after_us));
  ::kill(child, SIGKILL);
  while (::read(ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged)) {
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer gave up with " << WEXITSTATUS(status);
  return acknowledged;
}

TEST(Crash, WhatWasAcknowledgedIsThereAfterSigkillAndAtMostOneMore) {
  constexpr uint64_t kSeed = 4711;
  std::printf("seed %lu\n", static_cast<unsigned long>(kSeed));
  std::mt19937_64 dice(kSeed);
  const Folder folder;
  const std::string path = folder / "journal.db";
  for (int life = 0; life < 25; ++life) {
    const int64_t decisions = 1 + static_cast<int64_t>(dice() % 12);
    const int64_t acknowledged = LiveAndBeKilled(path, decisions, static_cast<int64_t>(dice() % 6000));
    const auto journal = Opened(path);
    ASSERT_NE(journal, nullptr) << "life " << life;
    const int64_t kept = journal->tables().epoch();
    EXPECT_GE(kept, acknowledged) << "life " << life;
    EXPECT_LE(kept, acknowledged + 1) << "life " << life;
    EXPECT_EQ(Dump(journal->tables()), History::DumpAfter(kept)) << "life " << life;
  }
}

// Enough decisions that the log was moved into the file several times.
TEST(Crash, TheLogDoesNotGrowForEver) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  const auto journal = Opened(path);
  History history;
  uintmax_t most = 0;
  for (int i = 0; i < 700; ++i) {
    ASSERT_TRUE(journal->Write(history.Next()).ok());
    most = std::max(most, std::filesystem::file_size(path + "-wal"));
  }
  std::printf("log: at most %lu bytes\n", static_cast<unsigned long>(most));
  EXPECT_GT(most, 3u << 20);  // it did grow
  EXPECT_LT(most, 5u << 20);
}

}  // namespace
}  // namespace filigree::coordinator
