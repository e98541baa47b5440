#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "coordinator/journal/journal.h"
#include "tests/coordinator/journal/sample_history.h"
#include "tests/coordinator/journal/sample_rows.h"

namespace filigree::coordinator {
namespace {

void RunSql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
  sqlite3_close(database);
}

TEST(Opening, OneProcessAtATimeAndTheSecondIsToldWhoHasIt) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  auto first = Opened(path);
  const auto second = Journal::Open(path);
  EXPECT_TRUE(Says(second.status(), absl::StatusCode::kFailedPrecondition,
                   "is in use by process " + std::to_string(::getpid()) + " on "))
      << second.status();
  EXPECT_TRUE(first->Write(History().Next()).ok());
  first = nullptr;
  EXPECT_EQ(DumpOf(path), History::DumpAfter(1));
}

TEST(Opening, AJournalOfANewerProgramIsRefusedAndLeftAsItIs) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  ASSERT_TRUE(Opened(path)->Write(History().Next()).ok());
  RunSql(path, "PRAGMA user_version = 2; CREATE TABLE of_the_future (x)");
  for (int times = 0; times < 2; ++times) {
    const auto journal = Journal::Open(path);
    EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kFailedPrecondition,
                     "has version 2 of the schema, this program knows up to 1"))
        << journal.status();
  }
  RunSql(path, "DROP TABLE of_the_future; PRAGMA user_version = 1");
  EXPECT_EQ(DumpOf(path), History::DumpAfter(1));
}

// Version 0 is what SQLite makes before we have said anything: an empty database.
TEST(Opening, AnEmptyDatabaseIsBroughtUpToDate) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  RunSql(path, "PRAGMA journal_mode = WAL");
  {
    const auto journal = Opened(path);
    ASSERT_NE(journal, nullptr);
    EXPECT_EQ(Dump(journal->tables()), Dump(Tables()));
    EXPECT_TRUE(journal->Write(History().Next()).ok());
  }
  EXPECT_EQ(DumpOf(path), History::DumpAfter(1));
  std::ofstream(folder / "empty.db").close();
  EXPECT_EQ(DumpOf(folder / "empty.db"), Dump(Tables()));
}

TEST(Opening, OtherFilesAreNoJournalsAndStayAsTheyAre) {
  const Folder folder;
  const std::string text = folder / "notes.txt";
  std::ofstream(text) << "not a database, but long enough to have a header " << std::string(100, '.');
  auto journal = Journal::Open(text);
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kDataLoss, "does not begin as an SQLite file does"));
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kDataLoss, text));
  const std::string other = folder / "other.db";
  RunSql(other, "PRAGMA journal_mode = WAL; CREATE TABLE mine (x); INSERT INTO mine VALUES (1)");
  journal = Journal::Open(other);
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kDataLoss, "another program's database")) << journal.status();
  journal = Journal::Open(folder.path());
  EXPECT_FALSE(journal.ok());
  EXPECT_NE(std::string(journal.status().message()).find(folder.path()), std::string::npos);
}

TEST(Opening, AFolderThatIsNotThereIsNamed) {
  const Folder folder;
  const auto journal = Journal::Open(folder / "no/journal.db");
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kNotFound, "no/journal.db")) << journal.status();
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kNotFound, "its folder must exist"));
}

TEST(Opening, AFolderAndAFileThatCannotBeWrittenAreNamed) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  ASSERT_TRUE(Opened(path)->Write(History().Next()).ok());
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0555), 0);
  const bool root = ::geteuid() == 0;  // whom no mode stops
  ASSERT_EQ(root ? ::seteuid(65534) : 0, 0);
  const absl::Status existing = Journal::Open(path).status();
  const absl::Status fresh = Journal::Open(folder / "new.db").status();
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  EXPECT_EQ(existing.code(), absl::StatusCode::kPermissionDenied) << existing;
  EXPECT_TRUE(Says(fresh, absl::StatusCode::kPermissionDenied, "writable by this user")) << fresh;
}

// Who reads the file beside us (a copy, a person) does not stop a decision; who writes in it does, and is found out.
TEST(Opening, AReaderBesideUsDoesNoHarmAndAWriterIsReported) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  const auto journal = Opened(path);
  History history;
  ASSERT_TRUE(journal->Write(history.Next()).ok());
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN; SELECT * FROM jobs", nullptr, nullptr, nullptr), SQLITE_OK);
  const Changes second = history.Next();
  EXPECT_TRUE(journal->Write(second).ok());
  ASSERT_EQ(sqlite3_exec(other, "COMMIT; BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const Changes third = history.Next();
  EXPECT_TRUE(Says(journal->Write(third), absl::StatusCode::kUnavailable, "another program has the file locked"));
  ASSERT_EQ(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_TRUE(journal->Write(third).ok());
  EXPECT_EQ(Dump(journal->tables()), History::DumpAfter(3));
}

// .backup of SQLite's shell.
void CopyAsTheShellDoes(const std::string& from, const std::string& to) {
  sqlite3 *source = nullptr, *target = nullptr;
  ASSERT_EQ(sqlite3_open(from.c_str(), &source), SQLITE_OK);
  ASSERT_EQ(sqlite3_open(to.c_str(), &target), SQLITE_OK);
  sqlite3_backup* backup = sqlite3_backup_init(target, "main", source, "main");
  ASSERT_NE(backup, nullptr);
  EXPECT_EQ(sqlite3_backup_step(backup, -1), SQLITE_DONE);
  EXPECT_EQ(sqlite3_backup_finish(backup), SQLITE_OK);
  sqlite3_close(source);
  sqlite3_close(target);
}

TEST(Opening, ACopyMadeWhileItIsOpenIsAJournal) {
  const Folder folder;
  const auto journal = Opened(folder / "journal.db");
  History history;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(journal->Write(history.Next()).ok());
  CopyAsTheShellDoes(folder / "journal.db", folder / "copy.db");
  ASSERT_TRUE(journal->Write(history.Next()).ok());
  EXPECT_EQ(DumpOf(folder / "copy.db"), History::DumpAfter(10));
}

// The lock goes by the name of the file, and the database follows links.
TEST(Opening, OneFileIsOneJournalUnderEveryName) {
  const Folder folder;
  const std::string path = folder / "journal.db", other = folder / "old.db";
  std::filesystem::create_symlink("journal.db", other);
  for (const char* when : {"the file is not there yet", "it is"}) {
    SCOPED_TRACE(when);
    auto first = Opened(other);
    const auto second = Journal::Open(path);
    EXPECT_TRUE(Says(second.status(), absl::StatusCode::kFailedPrecondition, "is in use by process "))
        << second.status();
    EXPECT_TRUE(std::filesystem::is_regular_file(path));
  }
}

}  // namespace
}  // namespace filigree::coordinator
