#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "coordinator/journal/journal.h"
#include "tests/coordinator/journal/failing_disk.h"
#include "tests/coordinator/journal/sample_history.h"
#include "tests/coordinator/journal/sample_rows.h"

namespace filigree::coordinator {
namespace {

using Kind = FailingDisk::Kind;

struct Failure {
  const char* name;
  Kind kind;
  int code;
  absl::StatusCode status;
  const char* says;
};

const Failure kFailures[] = {
    {"full", Kind::kWrite, SQLITE_FULL, absl::StatusCode::kResourceExhausted, "free space on that file system"},
    {"write error", Kind::kWrite, SQLITE_IOERR_WRITE, absl::StatusCode::kUnavailable, "look at the disk"},
    {"sync error", Kind::kSync, SQLITE_IOERR_FSYNC, absl::StatusCode::kUnavailable, "look at the disk"},
};

// What stands on the disk now, as a process finds it that starts after this one was killed.
int64_t KeptAfterKill(const Folder& folder, std::string& dump) {
  const Folder copy;
  for (const char* name : {"journal.db", "journal.db-wal"})
    if (std::filesystem::exists(folder / name)) std::filesystem::copy_file(folder / name, copy / name);
  const auto journal = Opened(copy / "journal.db");
  if (journal == nullptr) return -1;
  dump = Dump(journal->tables());
  return journal->tables().epoch();
}

class Disk : public ::testing::TestWithParam<Failure> {};

TEST_P(Disk, AWriteThatFailsKeepsNothingAndCanBeRepeatedWhenTheDiskIsWell) {
  const Failure& failure = GetParam();
  FailingDisk disk;
  const Folder folder;
  const std::string path = folder / "journal.db";
  auto journal = Opened(path, {disk.vfs()});
  History history;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(journal->Write(history.Next()).ok());
  bool beyond = false;  // `n` is more than one decision needs
  for (int64_t n = 1; !beyond; ++n) {
    const std::string before = Dump(history.tables());
    const Changes changes = history.Next();
    disk.FailFrom(failure.kind, n, failure.code);
    absl::Status status = journal->Write(changes);
    beyond = status.ok();
    EXPECT_EQ(beyond, !disk.failed()) << "n " << n;
    if (!beyond) {
      EXPECT_TRUE(Says(status, failure.status, failure.says)) << status;
      EXPECT_TRUE(Says(status, failure.status, path)) << status;
      EXPECT_EQ(Dump(journal->tables()), before);
      std::string kept;
      const int64_t count = KeptAfterKill(folder, kept);
      EXPECT_TRUE(count == history.count() - 1 || count == history.count()) << count;
      EXPECT_EQ(kept, History::DumpAfter(count));
      EXPECT_FALSE(journal->Write(changes).ok());  // still broken
      disk.Heal();
      status = journal->Write(changes);
      EXPECT_TRUE(status.ok()) << status;
    }
    EXPECT_EQ(Dump(journal->tables()), Dump(history.tables()));
    ASSERT_LT(n, 100);
  }
  EXPECT_GT(history.count(), 11);
  disk.Heal();
  journal = nullptr;
  EXPECT_EQ(DumpOf(path), Dump(history.tables()));
}

TEST_P(Disk, AJournalThatCannotBeMadeNowCanBeMadeLater) {
  const Failure& failure = GetParam();
  FailingDisk disk;
  int refused = 0;
  for (int64_t n = 1; n < 12; ++n) {
    const Folder folder;
    disk.FailFrom(failure.kind, n, failure.code);
    const auto journal = Journal::Open(folder / "journal.db", {disk.vfs()});
    disk.Heal();
    if (journal.ok()) continue;
    ++refused;
    EXPECT_EQ(journal.status().code(), failure.status) << "n " << n << ": " << journal.status();
    const auto again = Opened(folder / "journal.db", {disk.vfs()});
    ASSERT_NE(again, nullptr) << "n " << n;
    EXPECT_TRUE(again->Write(History().Next()).ok());
  }
  EXPECT_GT(refused, 1);
}

INSTANTIATE_TEST_SUITE_P(Failures, Disk, ::testing::ValuesIn(kFailures), [](const auto& param_info) {
  std::string name = param_info.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

// The power goes at seeded moments of a life with clean ends, log restarts and checkpoints: what was acknowledged by
// then is there, and at most one decision more.
TEST(Power, WhatWasAcknowledgedIsThereAfterALossOfPower) {
  FailingDisk disk;
  const Folder folder;
  const std::string path = folder / "journal.db";
  History history;
  std::vector<int64_t> acknowledged;  // operations of the disk by the end of every decision
  for (const int decisions : {5, 40, 300, 20}) {
    const auto journal = Opened(path, {disk.vfs()});
    for (int i = 0; i < decisions; ++i) {
      ASSERT_TRUE(journal->Write(history.Next()).ok());
      acknowledged.push_back(disk.operations());
    }
  }
  constexpr uint64_t kSeed = 31;
  std::printf("seed %lu, %ld operations of the disk\n", static_cast<unsigned long>(kSeed),
              static_cast<long>(disk.operations()));
  std::mt19937_64 dice(kSeed);
  for (int i = 0; i < 100; ++i) {
    const auto moment = static_cast<int64_t>(dice() % static_cast<uint64_t>(disk.operations() + 1));
    const Folder after;
    disk.PowerLoss(moment, after.path(), dice);
    const auto journal = Opened(after / "journal.db");
    ASSERT_NE(journal, nullptr) << "at operation " << moment;
    const auto promised = std::upper_bound(acknowledged.begin(), acknowledged.end(), moment) - acknowledged.begin();
    const int64_t kept = journal->tables().epoch();
    EXPECT_GE(kept, promised) << "at operation " << moment;
    EXPECT_LE(kept, promised + 1) << "at operation " << moment;
    EXPECT_EQ(Dump(journal->tables()), History::DumpAfter(kept)) << "at operation " << moment;
  }
}

}  // namespace
}  // namespace filigree::coordinator
