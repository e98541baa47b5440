#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>

#include "coordinator/journal/journal.h"
#include "tests/coordinator/journal/sample_history.h"
#include "tests/coordinator/journal/sample_rows.h"

namespace filigree::coordinator {
namespace {

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good());
}

std::string Flipped(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  return bytes;
}

// The files of a journal, to be put anywhere, damaged or not.
struct Image {
  std::string file, log;
  size_t last_at = 0;  // where in the log the last decision begins

  std::string PutInto(const Folder& folder) const {
    const std::string path = folder / "journal.db";
    WriteBytes(path, file);
    std::filesystem::remove(path + "-wal");
    if (!log.empty()) WriteBytes(path + "-wal", log);
    std::filesystem::remove(path + "-shm");
    return path;
  }
};

constexpr int64_t kDecisions = 40;

Image ImageOf(const std::string& path) { return {ReadBytes(path), ReadBytes(path + "-wal"), 0}; }

// As a clean end leaves it, and as SIGKILL leaves it: with a log that holds everything since the start.
Image Closed() {
  const Folder folder;
  const std::string path = folder / "journal.db";
  {
    const auto journal = Opened(path);
    History history;
    while (history.count() < kDecisions) EXPECT_TRUE(journal->Write(history.Next()).ok());
  }
  const Image image = ImageOf(path);
  EXPECT_TRUE(image.log.empty());
  return image;
}
Image Killed() {
  const Folder folder;
  const std::string path = folder / "journal.db";
  const auto journal = Opened(path);
  History history;
  while (history.count() < kDecisions - 1) EXPECT_TRUE(journal->Write(history.Next()).ok());
  const size_t last_at = ReadBytes(path + "-wal").size();
  EXPECT_TRUE(journal->Write(history.Next()).ok());
  Image image = ImageOf(path);
  image.last_at = last_at;
  return image;
}

// Flips seeded bits of `damaged`, one at a time. The journal is refused with DataLoss, or says what it said before;
// only where the last transaction of the log is hit it may say what was true before that.
void FlipBits(Image image, std::string Image::*damaged, int flips) {
  const Folder folder;
  const std::string good = History::DumpAfter(kDecisions), before = History::DumpAfter(kDecisions - 1);
  const std::string bytes = image.*damaged;
  constexpr uint64_t kSeed = 20261129;
  std::printf("seed %lu\n", static_cast<unsigned long>(kSeed));
  std::mt19937_64 dice(kSeed);
  int refused = 0;
  for (int i = 0; i < flips; ++i) {
    const size_t bit = dice() % (bytes.size() * 8);
    image.*damaged = Flipped(bytes, bit);
    const auto journal = Journal::Open(image.PutInto(folder));
    if (!journal.ok()) {
      ++refused;
      EXPECT_EQ(journal.status().code(), absl::StatusCode::kDataLoss) << "bit " << bit << ": " << journal.status();
      continue;
    }
    const std::string found = Dump((*journal)->tables());
    if (found == before && damaged == &Image::log && bit / 8 >= image.last_at) continue;
    EXPECT_EQ(found, good) << "bit " << bit;
  }
  std::printf("%d of %d flips refused\n", refused, flips);
  EXPECT_GT(refused, 0);
}

TEST(Damage, AFlippedBitInTheFileIsSeenOrHarmless) { FlipBits(Closed(), &Image::file, 250); }

// Only in the last of 40 transactions it looks like a write that was never finished.
TEST(Damage, AFlippedBitInTheLogIsSeenOrInItsLastTransaction) { FlipBits(Killed(), &Image::log, 250); }

TEST(Damage, EveryByteOfTheHeadersMatters) {
  const Folder folder;
  const Image closed = Closed(), killed = Killed();
  const std::string good = History::DumpAfter(kDecisions);
  for (size_t byte = 0; byte < 100; ++byte) {
    Image image = closed;
    image.file = Flipped(image.file, byte * 8 + byte % 8);
    const auto journal = Journal::Open(image.PutInto(folder));
    if (!journal.ok()) continue;
    EXPECT_EQ(Dump((*journal)->tables()), good) << "byte " << byte;
  }
  for (size_t byte = 0; byte < 32; ++byte) {
    Image image = killed;
    image.log = Flipped(image.log, byte * 8 + byte % 8);
    const auto journal = Journal::Open(image.PutInto(folder));
    if (!journal.ok()) continue;
    EXPECT_EQ(Dump((*journal)->tables()), good) << "byte " << byte << " of the log";
  }
}

TEST(Damage, AFileCutShortIsRefused) {
  const Folder folder;
  const Image closed = Closed();
  for (size_t pages = 0; pages * 4096 < closed.file.size(); ++pages)
    for (const size_t more : {1, 99, 2000}) {
      Image image = closed;
      image.file.resize(pages * 4096 + more);
      EXPECT_EQ(Journal::Open(image.PutInto(folder)).status().code(), absl::StatusCode::kDataLoss)
          << pages << " pages and " << more << " bytes";
    }
}

// What a crash in the middle of a write leaves is not damage: every prefix of the log holds the first decisions.
TEST(Damage, ALogCutShortHoldsWhatWasWrittenBefore) {
  const Folder folder;
  const Image killed = Killed();
  int64_t last = 0;
  for (size_t bytes = 40; bytes < killed.log.size(); bytes += 12411) {
    Image image = killed;
    image.log.resize(bytes);
    const auto journal = Journal::Open(image.PutInto(folder));
    ASSERT_TRUE(journal.ok()) << bytes << ": " << journal.status();
    const int64_t count = (*journal)->tables().epoch();
    EXPECT_EQ(Dump((*journal)->tables()), History::DumpAfter(count));
    EXPECT_GE(count, last);
    last = count;
  }
  EXPECT_GT(last, kDecisions / 2);
}

TEST(Damage, PagesOfZerosAndOfNoiseAreSeen) {
  const Folder folder;
  const Image closed = Closed();
  std::mt19937_64 dice(7);
  for (size_t page = 0; page * 4096 < closed.file.size(); ++page)
    for (const bool noise : {false, true}) {
      Image image = closed;
      for (size_t i = 0; i < 4096; ++i) image.file[page * 4096 + i] = noise ? static_cast<char>(dice()) : '\0';
      EXPECT_EQ(Journal::Open(image.PutInto(folder)).status().code(), absl::StatusCode::kDataLoss)
          << "page " << page << (noise ? " of noise" : " of zeros");
    }
}

TEST(Damage, ALogWithoutItsFileAndAFileThatDeniesItsLogAreRefused) {
  const Folder folder;
  Image image = Killed();
  const std::string file = image.file;
  image.file.clear();
  const std::string path = image.PutInto(folder);
  EXPECT_TRUE(
      Says(Journal::Open(path).status(), absl::StatusCode::kDataLoss, "-wal is there, the file itself is empty"));
  std::filesystem::remove(path);
  EXPECT_TRUE(Says(Journal::Open(path).status(), absl::StatusCode::kDataLoss, "-wal is there, the file itself is not"));
  image.file = file;
  image.file[18] = image.file[19] = 1;
  EXPECT_TRUE(Says(Journal::Open(image.PutInto(folder)).status(), absl::StatusCode::kDataLoss,
                   "does not say that it has a log"));
}

// What somebody did to the file with a shell of SQLite.
void ExpectRefused(const std::string& sql, const std::string& why) {
  static const Image closed = Closed();
  const Folder folder;
  const std::string path = closed.PutInto(folder);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
  sqlite3_close(database);
  const auto journal = Journal::Open(path);
  EXPECT_TRUE(Says(journal.status(), absl::StatusCode::kDataLoss, why)) << sql << ": " << journal.status();
}

TEST(Tampering, RowsThatWereChangedAddedOrRemovedAreSeen) {
  ExpectRefused("UPDATE workers SET slots = 5 WHERE name = 'w1'", "table workers: its digest is another");
  ExpectRefused("UPDATE jobs SET state = 'done' WHERE id = 'job-1'", "table jobs: its digest is another");
  ExpectRefused("DELETE FROM commits WHERE step = 3", "rows are missing");
  ExpectRefused("DELETE FROM workers", "rows are missing");
  ExpectRefused("DELETE FROM specs WHERE job = 'job-1'", "job job-1 has no spec");
  ExpectRefused("DELETE FROM jobs WHERE id = 'job-1'", "spec of the unknown job job-1");
  ExpectRefused("DELETE FROM state", "table state is empty and others are not");
  ExpectRefused("UPDATE workers SET name = 'other' WHERE name = 'w1'", "its digest is another");
}

TEST(Tampering, OtherTablesTriggersAndViewsAreRefusedAndNeverRun) {
  ExpectRefused("CREATE TABLE more (x)", "its tables are not those of its version");
  ExpectRefused("CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM workers; END", "its tables are not");
  ExpectRefused("CREATE VIEW v AS SELECT 1", "its tables are not");
  ExpectRefused("CREATE INDEX i ON jobs (state)", "its tables are not");
  ExpectRefused("DROP TABLE commits", "its tables are not");
  ExpectRefused("ALTER TABLE workers ADD COLUMN more TEXT", "its tables are not");
}

TEST(Tampering, VersionsThereNeverWereAreRefused) {
  ExpectRefused("PRAGMA user_version = 0", "there is no version 0");
  ExpectRefused("PRAGMA user_version = -3", "there is no version -3");
  ExpectRefused("PRAGMA application_id = 12", "another program's database (application_id 12)");
}

}  // namespace
}  // namespace filigree::coordinator
