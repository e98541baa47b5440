#include "worker/checkpoint/ticking_files.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/retention.h"

namespace filigree::checkpoint {
namespace {

class TickingFilesTest : public ::testing::Test {
 protected:
  // How often it ticked since it was asked last.
  int Ticks() { return std::exchange(ticks_, 0); }

  FaultFileSystem below_;
  int ticks_ = 0;
  TickingFiles files_{below_, [this] { ++ticks_; }};
};

TEST_F(TickingFilesTest, ALongWriteTicksAndIsSyncedInPieces) {
  const std::string bytes(3 * TickingFiles::kSyncEvery + 100, 'x');
  auto file = files_.Create("long");
  ASSERT_TRUE(file.ok());
  Ticks();
  ASSERT_TRUE((*file)->Append(bytes.data(), bytes.size()).ok());
  EXPECT_EQ(Ticks(), 7);  // four writes, three syncs
  below_.CrashAt(0);
  EXPECT_FALSE((*file)->Sync().ok());
  EXPECT_EQ(Ticks(), 1);
}

TEST_F(TickingFilesTest, SmallWritesAreSyncedAsSoonAsTheyAreMany) {
  auto file = files_.Create("small");
  const std::string piece(TickingFiles::kSyncEvery / 4, 'x');
  const int64_t before = below_.operations();
  for (int i = 0; i < 9; ++i) ASSERT_TRUE((*file)->Append(piece.data(), piece.size()).ok());
  EXPECT_EQ(below_.operations() - before, 9 + 2);
}

TEST_F(TickingFilesTest, ALongReadTicksAndIsTheSame) {
  std::string bytes(2 * TickingFiles::kPiece + 11, 'x');
  for (size_t i = 0; i < bytes.size(); i += 4093) bytes[i] = static_cast<char>(i);
  auto file = files_.Create("long");
  ASSERT_TRUE((*file)->Append(bytes.data(), bytes.size()).ok());
  auto reader = files_.OpenForRead("long");
  ASSERT_TRUE(reader.ok());
  Ticks();
  std::string read(bytes.size() - 5, '\0');
  ASSERT_TRUE((*reader)->ReadAt(5, read.data(), read.size()).ok());
  EXPECT_EQ(read, bytes.substr(5));
  EXPECT_EQ(Ticks(), 3);
  EXPECT_TRUE((*reader)->ReadAt(bytes.size(), read.data(), 0).ok());
  EXPECT_FALSE((*reader)->ReadAt(bytes.size() + 1, read.data(), 0).ok());
}

// The tensors of a checkpoint are read one by one, when they are wanted.
TEST_F(TickingFilesTest, SavingHashingAndReadingACheckpointTick) {
  ASSERT_TRUE(below_.CreateFolder("run").ok());
  TestState state(3, 5);
  ASSERT_TRUE(Save(files_, "run", state.state(), 1).ok());
  EXPECT_GE(Ticks(), below_.operations() - 1);
  const auto loaded = LoadNewest(files_, "run", nullptr);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_GE(Ticks(), 3);
  EXPECT_EQ(Difference(*loaded, state), "");
  EXPECT_GE(Ticks(), 3);
}

TEST_F(TickingFilesTest, ErrorsComeThrough) {
  EXPECT_TRUE(absl::IsNotFound(files_.OpenForRead("nothing").status()));
  below_.FailAt(0, absl::ResourceExhaustedError("full"));
  EXPECT_TRUE(absl::IsResourceExhausted(files_.Create("file").status()));
  auto file = files_.Create("file");
  ASSERT_TRUE(file.ok());
  below_.FailAt(1, absl::ResourceExhaustedError("full"));
  EXPECT_TRUE((*file)->Append("x", 1).ok());
  EXPECT_TRUE(absl::IsResourceExhausted((*file)->Append("x", 1)));
}

// A disk that does not answer.
class SilentFiles : public TickingFiles {
 public:
  explicit SilentFiles(FileSystem& files) : TickingFiles(files, [] {}) {}
  absl::StatusOr<bool> Exists(const std::string& path) override {
    if (silent) return absl::UnavailableError("cannot look at " + path + ": Input/output error");
    return TickingFiles::Exists(path);
  }
  bool silent = false;
};

// What cannot be looked at is not gone: nobody begins anew, and nothing is tidied away.
TEST(SilentFilesTest, ManifestsThatCannotBeLookedAtAreNotMissing) {
  FaultFileSystem below;
  SilentFiles files(below);
  TestState state(3, 5);
  ASSERT_TRUE(files.CreateFolder("run").ok());
  ASSERT_TRUE(Save(files, "run", state.state(), 2).ok());
  files.silent = true;
  std::vector<std::string> warnings;
  EXPECT_EQ(LoadNewest(files, "run", &warnings).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(LoadAny(files, "run", &warnings).status().code(), absl::StatusCode::kUnavailable);
  RemoveLeftovers(files, "run", 0, warnings);
  files.silent = false;
  EXPECT_TRUE(LoadNewest(files, "run", &warnings).ok());
}

}  // namespace
}  // namespace filigree::checkpoint
