#include "worker/checkpoint/parts.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/manifest.h"

// Several ranks write one checkpoint; whatever becomes of one of them, an older checkpoint or the new one is there.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 31;

State ShareOf(const State& all, int part, int parts) {
  State share;
  share.step = all.step;
  const std::vector<int> part_of = ShareTensors(all, parts);
  for (size_t t = 0; t < all.tensors.size(); ++t) {
    if (part_of[t] == part) share.tensors.push_back(all.tensors[t]);
  }
  return share;
}

std::vector<float> OwnOf(int part) { return {static_cast<float>(part), 0.5f, -0.0f}; }

absl::Status SaveInParts(FileSystem& files, const State& state, int parts, bool own = true, int keep = 2) {
  std::vector<std::string> warnings;
  const auto save = BeginSave(files, "run", state.step, warnings);
  if (!save.ok()) return save.status();
  std::vector<std::string> words;
  for (int part = 0; part < parts; ++part) {
    const std::vector<float> values = OwnOf(part);
    const OwnTensor held{"wte.weight", values};
    const auto word = WritePart(files, *save, part, ShareOf(state, part, parts), {&held, own ? size_t{1} : size_t{0}});
    if (!word.ok()) {
      AbandonSave(files, *save);
      return word.status();
    }
    words.push_back(*word);
  }
  return CommitSave(files, "run", *save, state, words, keep).status();
}

class PartsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.CreateFolder("run").ok());
    ASSERT_TRUE(files_.SyncFolder("").ok());
  }
  FaultFileSystem files_;
};

TEST_F(PartsTest, TogetherAreTheState) {
  for (const int parts : {1, 2, 3, 5, 40}) {  // more than there are tensors, too
    TestState state(kSeed, parts, Regime::kActive);
    ASSERT_TRUE(SaveInParts(files_, state.state(), parts).ok());
    const auto loaded = LoadNewest(files_, "run", nullptr);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(Difference(*loaded, state), "") << parts;
    EXPECT_EQ(StateSha256(*loaded, 2).value(), StateSha256(state.state(), 1));
    ASSERT_EQ(loaded->OwnRanks().size(), parts);
    for (int part = 0; part < parts; ++part) {
      std::vector<float> own(3);
      ASSERT_TRUE(loaded->CopyOwn(part, "wte.weight", own).ok());
      EXPECT_TRUE(SameBits(own.data(), OwnOf(part).data(), 3));
      EXPECT_FALSE(loaded->CopyOwn(part, "wte.weight", std::span(own).first(2)).ok());
      EXPECT_FALSE(loaded->CopyOwn(part, "bias", own).ok());
    }
    std::vector<float> own(3);
    EXPECT_FALSE(loaded->CopyOwn(parts, "wte.weight", own).ok());
  }
}

TEST_F(PartsTest, OfOneRankWithoutAnythingOfItsOwnAreTheFilesOfASaveAlone) {
  TestState state(kSeed, 4);
  ASSERT_TRUE(SaveInParts(files_, state.state(), 1, /*own=*/false).ok());
  FaultFileSystem alone;
  ASSERT_TRUE(alone.CreateFolder("run").ok());
  ASSERT_TRUE(alone.SyncFolder("").ok());
  ASSERT_TRUE(Save(alone, "run", state.state(), 2).ok());
  ASSERT_EQ(files_.AllPaths(), alone.AllPaths());
  for (const std::string& path : alone.AllPaths()) {
    if (!path.ends_with(".safetensors") && !path.ends_with(".json")) continue;
    EXPECT_EQ(ReadFile(files_, path, 1 << 20).value(), ReadFile(alone, path, 1 << 20).value()) << path;
  }
}

TEST_F(PartsTest, ShareTheBytes) {
  State state;
  std::vector<float> values(1000);
  for (const int64_t size : {1000, 500, 500, 250, 250, 250, 250, 10}) {
    state.tensors.push_back({std::string(state.tensors.size() + 1, 't'), {size}, values.data()});
  }
  for (const int parts : {1, 2, 3}) {
    const std::vector<int> part_of = ShareTensors(state, parts);
    std::vector<int64_t> load(parts);
    for (size_t t = 0; t < part_of.size(); ++t) load.at(part_of[t]) += state.tensors[t].shape[0];
    for (const int64_t bytes : load) EXPECT_LE(bytes, 3010 / parts + 250);
  }
}

TEST_F(PartsTest, LeaveATensorToItsOwnerAndShareTheRest) {
  State state;
  std::vector<float> values(1000);
  for (const int64_t size : {1000, 10, 400, 20}) {
    state.tensors.push_back({std::string(state.tensors.size() + 1, 't'), {size}, values.data()});
  }
  EXPECT_EQ(ShareTensors(state, 3, std::vector<int>{1, 2, -1, -1}), (std::vector<int>{1, 2, 0, 2}));
}

TEST_F(PartsTest, WhateverRefusesLeavesTheOlderCheckpointAndNothingElse) {
  TestState old(kSeed, 1), next(kSeed + 1, 2, Regime::kActive);
  int64_t operations = 0;
  {
    FaultFileSystem counting;
    ASSERT_TRUE(counting.CreateFolder("run").ok());
    const int64_t before = counting.operations();
    ASSERT_TRUE(SaveInParts(counting, next.state(), 3).ok());
    operations = counting.operations() - before;
  }
  ASSERT_GT(operations, 30);
  for (int64_t n = 0; n < operations; ++n) {
    SCOPED_TRACE(n);
    FaultFileSystem files;
    ASSERT_TRUE(files.CreateFolder("run").ok());
    ASSERT_TRUE(files.SyncFolder("").ok());
    ASSERT_TRUE(SaveInParts(files, old.state(), 2).ok());
    files.CrashAt(n);
    SaveInParts(files, next.state(), 3).IgnoreError();
    files.Reboot(CrashKind::kTorn, kSeed);
    const auto survivor = LoadNewest(files, "run", nullptr);
    ASSERT_TRUE(survivor.ok()) << survivor.status();
    EXPECT_EQ(Difference(*survivor, survivor->step() == 1 ? old : next), "");
    // The next save tidies up, with another number of ranks.
    TestState after(kSeed + 2, 3);
    ASSERT_TRUE(SaveInParts(files, after.state(), 2, true, 1).ok());
    std::set<std::string> folders;
    for (const std::string& path : files.AllPaths()) {
      EXPECT_FALSE(path.ends_with(".tmp")) << path;
      if (path.find("step-") != std::string::npos) folders.insert(path.substr(0, path.find_last_of('/')));
    }
    for (const std::string& folder : folders) EXPECT_EQ(folder.find("step-0000000002"), std::string::npos) << folder;
  }
}

TEST_F(PartsTest, AnAbandonedSaveOfTheSameStepLeavesTheCheckpointWhole) {
  TestState state(kSeed, 7);
  ASSERT_TRUE(SaveInParts(files_, state.state(), 2).ok());
  const std::vector<std::string> before = files_.AllPaths();
  std::vector<std::string> warnings;
  const auto save = BeginSave(files_, "run", 7, warnings);
  ASSERT_TRUE(save.ok());
  ASSERT_TRUE(WritePart(files_, *save, 1, ShareOf(state.state(), 1, 2), {}).ok());
  EXPECT_NE(files_.AllPaths(), before);
  AbandonSave(files_, *save);
  EXPECT_EQ(files_.AllPaths(), before);
  EXPECT_TRUE(LoadNewest(files_, "run", nullptr).ok());
}

TEST_F(PartsTest, AFileThatTheFirstRankDoesNotSeeIsNamedAndNothingIsCommitted) {
  TestState state(kSeed, 7);
  std::vector<std::string> warnings, words;
  const auto save = BeginSave(files_, "run", 7, warnings);
  ASSERT_TRUE(save.ok());
  FaultFileSystem elsewhere;  // another machine's disk
  ASSERT_TRUE(elsewhere.CreateFolder("run").ok());
  ASSERT_TRUE(BeginSave(elsewhere, "run", 7, warnings).ok());
  words.push_back(WritePart(files_, *save, 0, ShareOf(state.state(), 0, 2), {}).value());
  words.push_back(WritePart(elsewhere, *save, 1, ShareOf(state.state(), 1, 2), {}).value());
  const auto saved = CommitSave(files_, "run", *save, state.state(), words, 2);
  EXPECT_EQ(saved.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(saved.status().message()).find("weights.p1.safetensors"), std::string::npos) << saved.status();
  EXPECT_TRUE(absl::IsNotFound(LoadNewest(files_, "run", nullptr).status()));
  for (const std::string& path : files_.AllPaths()) EXPECT_FALSE(path.ends_with(".safetensors")) << path;
}

// Twice in the manifest, or once there and in two files.
TEST_F(PartsTest, ATensorInTwoFilesIsRefused) {
  for (const bool listed_twice : {true, false}) {
    TestState state(kSeed, 7);
    std::vector<std::string> warnings, words;
    const auto save = BeginSave(files_, "run", 7, warnings);
    words.push_back(WritePart(files_, *save, 0, state.state(), {}).value());
    words.push_back(WritePart(files_, *save, 1, ShareOf(state.state(), 1, 2), {}).value());
    if (!listed_twice) {
      Manifest second = ParseManifest(words[1], "the second").value();
      second.tensors.clear();
      words[1] = EncodeManifest(second).value();
    }
    CommitSave(files_, "run", *save, state.state(), words, 2).IgnoreError();
    const auto loaded = Checkpoint::Load(files_, save->folder);
    ASSERT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss) << loaded.status();
    const std::string reason = listed_twice ? "not in order of name" : "is both in";
    EXPECT_NE(std::string(loaded.status().message()).find(reason), std::string::npos) << loaded.status();
  }
}

TEST_F(PartsTest, AFileOfAKindThatNobodyKnowsIsRefused) {
  for (const char* role : {"own-", "own-01", "own--1", "own-99999999999", "own-1x", "other", ""}) {
    Manifest manifest;
    manifest.files = {{"weights", "weights.safetensors", 1, std::string(32, '0')},
                      {role, "other.safetensors", 1, std::string(32, '0')}};
    const absl::Status status = ParseManifest(EncodeManifest(manifest).value(), "forged").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << role;
    EXPECT_NE(std::string(status.message()).find("does not know"), std::string::npos) << status;
  }
  Manifest known;
  known.files = {{"weights", "weights.safetensors", 1, std::string(32, '0')},
                 {OwnRole(12), "own-12.p12.safetensors", 1, std::string(32, '0')}};
  EXPECT_TRUE(ParseManifest(EncodeManifest(known).value(), "sound").ok());
}

}  // namespace
}  // namespace filigree::checkpoint
