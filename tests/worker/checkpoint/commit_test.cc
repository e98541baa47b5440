#include "worker/checkpoint/commit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/parts.h"
#include "worker/checkpoint/retention.h"

// Checkpoints that a coordinator commits: what it has said OK to can be loaded, whatever happened to who wrote it;
// nothing else is gone on from; and who is late spoils nothing.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 53;

// From the state that tests save at its step.
std::string DifferenceOfStep(const Checkpoint& loaded) {
  TestState state(kSeed + loaded.step(), loaded.step());
  return Difference(loaded, state);
}

// The rows of a coordinator: generations and steps ascend. It outlives the machine of the ranks.
class Coordinator {
 public:
  void Place(int64_t generation) { generation_ = generation; }

  absl::Status Commit(const CommitPoint& point) {
    if (last_ && *last_ == point) return absl::OkStatus();
    if (point.generation != generation_ || (last_ && point.step <= last_->step)) {
      return absl::FailedPreconditionError("stale");
    }
    last_ = point;
    return answer_;
  }
  void LoseAnswers() { answer_ = absl::UnavailableError("the answer was lost"); }

  Fencing Ranks() {
    Fencing fencing;
    fencing.generation = generation_;
    fencing.resume = last_;
    fencing.commit = [this](const CommitPoint& point) { return Commit(point); };
    return fencing;
  }
  const std::optional<CommitPoint>& last() const { return last_; }

 private:
  int64_t generation_ = 1;
  std::optional<CommitPoint> last_;
  absl::Status answer_ = absl::OkStatus();
};

class CommitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.CreateFolder("run").ok());
    ASSERT_TRUE(files_.SyncFolder("").ok());
  }
  absl::StatusOr<SaveResult> SaveStep(int64_t step, int keep = 2) {
    TestState state(kSeed + step, step);
    const Fencing fencing = coordinator_.Ranks();
    return Save(files_, "run", state.state(), keep, &fencing);
  }
  std::vector<std::string> Folders() { return files_.List("run/checkpoints").value(); }
  // Step of what a new generation goes on from.
  int64_t ResumesFrom(std::vector<std::string>* warnings = nullptr) {
    const auto loaded = LoadCommitted(files_, "run", *coordinator_.last(), warnings);
    if (!loaded.ok()) return -1;
    EXPECT_EQ(DifferenceOfStep(*loaded), "");
    return loaded->step();
  }

  FaultFileSystem files_;
  Coordinator coordinator_;
};

TEST_F(CommitTest, AFolderIsOfItsGenerationAndSaysWhatWasCommitted) {
  const auto saved = SaveStep(3);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->path, "run/checkpoints/step-0000000003-g1");
  EXPECT_EQ(saved->point, *coordinator_.last());
  EXPECT_EQ(saved->point.digest.size(), 32u);
  EXPECT_EQ(Checkpoint::Load(files_, saved->path)->digest(), saved->point.digest);
  EXPECT_EQ(files_.Bytes(saved->path + "/committed"), "generation 1 step 3 manifest " + saved->point.digest + "\n");
  EXPECT_EQ(ResumesFrom(), 3);
}

TEST_F(CommitTest, WhatWasNotCommittedIsPassedOver) {
  ASSERT_TRUE(SaveStep(3).ok());
  coordinator_.LoseAnswers();
  EXPECT_TRUE(absl::IsUnavailable(SaveStep(4).status()));
  // It may have been committed or not: the coordinator says, and a reader that has none to ask takes what is sure.
  EXPECT_EQ(ResumesFrom(), 4);
  std::vector<std::string> warnings;
  const auto newest = LoadNewest(files_, "run", &warnings);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->step(), 3);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("step-0000000004-g1 passed over: its generation has not committed it"), std::string::npos);
}

TEST_F(CommitTest, OfTwoGenerationsTheLaterOnesIsTheNewest) {
  for (const int64_t later : {3, 10}) {  // in the order of letters, and not
    TestState first(kSeed, 5 + later), second(kSeed + 1, 5 + later);
    for (TestState* state : {&second, &first}) {
      Fencing fencing;
      fencing.generation = state == &first ? later - 1 : later;
      fencing.commit = [](const CommitPoint&) { return absl::OkStatus(); };
      ASSERT_TRUE(Save(files_, "run", state->state(), 5, &fencing).ok());
    }
    const auto newest = LoadNewest(files_, "run", nullptr);
    ASSERT_TRUE(newest.ok()) << newest.status();
    EXPECT_EQ(Difference(*newest, second), "");
  }
}

TEST_F(CommitTest, ARefusedWriterLeavesEverythingAsItIs) {
  ASSERT_TRUE(SaveStep(3).ok());
  Fencing late = coordinator_.Ranks();
  coordinator_.Place(2);
  TestState state(kSeed + 4, 4);
  const auto refused = Save(files_, "run", state.state(), 1, &late);
  EXPECT_TRUE(IsSuperseded(refused.status())) << refused.status();
  EXPECT_NE(std::string(refused.status().message()).find("step-0000000004-g1"), std::string::npos);
  EXPECT_EQ(ResumesFrom(), 3);
  // The successor's first commit clears away what never counted.
  ASSERT_TRUE(SaveStep(5, /*keep=*/3).ok());
  EXPECT_EQ(Folders(), (std::vector<std::string>{"step-0000000003-g1", "step-0000000005-g2"}));
}

// A commit whose answer was lost is asked again and refused, as another generation has been placed: which begins with
// it.
TEST_F(CommitTest, ARefusalDoesNotRemoveWhatASuccessorBeginsWith) {
  ASSERT_TRUE(SaveStep(3).ok());
  TestState state(kSeed + 4, 4);
  Fencing fencing = coordinator_.Ranks();
  fencing.commit = [&](const CommitPoint& point) {
    EXPECT_TRUE(coordinator_.Commit(point).ok());
    return absl::FailedPreconditionError("the job is at generation 2");
  };
  EXPECT_TRUE(IsSuperseded(Save(files_, "run", state.state(), 1, &fencing).status()));
  coordinator_.Place(2);
  EXPECT_EQ(ResumesFrom(), 4);
  // Nor does the beginning of another save that comes to nothing.
  files_.FailAt(6, absl::ResourceExhaustedError("full"), /*sticky=*/true);
  EXPECT_FALSE(SaveStep(5).ok());
  files_.ClearFaults();
  EXPECT_EQ(ResumesFrom(), 4);
}

TEST_F(CommitTest, WhoWakesUpLateRemovesNothingOfItsSuccessors) {
  for (int64_t n = 0; n < 60; ++n) {
    SCOPED_TRACE(n);
    FaultFileSystem files;
    ASSERT_TRUE(files.CreateFolder("run").ok());
    Coordinator coordinator;
    const auto save = [&](int64_t step, int keep) {
      TestState state(kSeed + step, step);
      const Fencing fencing = coordinator.Ranks();
      return Save(files, "run", state.state(), keep, &fencing);
    };
    for (const int64_t step : {1, 2}) ASSERT_TRUE(save(step, 2).ok());
    bool slept = false;
    files.SleepAt(n, [&] {
      slept = true;
      coordinator.Place(2);
      for (const int64_t step : {4, 5}) ASSERT_TRUE(save(step, 2).ok());
    });
    const absl::Status late = save(3, 1).status();  // of generation 1
    if (!slept) {
      EXPECT_GT(n, 15);
      break;
    }
    EXPECT_TRUE(late.ok() || IsSuperseded(late) || absl::IsNotFound(late)) << late;
    for (const int64_t step : {4, 5}) {
      const auto kept = Checkpoint::Load(files, "run/checkpoints/" + StepFolderName(step, 2));
      ASSERT_TRUE(kept.ok()) << kept.status();
      EXPECT_EQ(DifferenceOfStep(*kept), "");
    }
    std::vector<std::string> warnings;
    EXPECT_EQ(LoadCommitted(files, "run", *coordinator.last(), &warnings)->step(), 5);
    EXPECT_TRUE(warnings.empty());
  }
}

TEST_F(CommitTest, WhoTidiesUpLateLeavesASaveOfItsSuccessorsAlone) {
  ASSERT_TRUE(SaveStep(1).ok());
  const Fencing late = coordinator_.Ranks();
  coordinator_.Place(2);
  const Fencing successor = coordinator_.Ranks();
  TestState next(kSeed + 3, 3), other(kSeed + 2, 2);
  std::vector<std::string> warnings;
  const auto begun = BeginSave(files_, "run", 3, warnings, {2, NewSaveToken()});
  ASSERT_TRUE(begun.ok());
  const std::string part = WritePart(files_, *begun, 0, next.state(), {}).value();
  EXPECT_TRUE(IsSuperseded(Save(files_, "run", other.state(), 1, &late).status()));
  ASSERT_TRUE(CommitSave(files_, "run", *begun, next.state(), {&part, 1}, 2, &successor).ok());
  EXPECT_EQ(ResumesFrom(), 3);
}

// A rank falls asleep inside its share of a save; the others lose it, and save the same step again.
TEST_F(CommitTest, ARankThatWakesUpInsideASaveSpoilsNobodyElses) {
  int64_t n = 0;
  for (bool slept = true; slept; ++n) {
    SCOPED_TRACE(n);
    slept = false;
    FaultFileSystem files;
    ASSERT_TRUE(files.CreateFolder("run").ok());
    TestState asleep(kSeed, 7), others(kSeed + 1, 7);
    std::vector<std::string> warnings;
    const auto save = BeginSave(files, "run", 7, warnings, {0, NewSaveToken()});
    ASSERT_TRUE(save.ok());
    files.SleepAt(n, [&] {
      slept = true;
      const auto again = BeginSave(files, "run", 7, warnings, {0, NewSaveToken()});
      std::vector<std::string> words;
      for (int part = 0; part < 2; ++part) {
        State share = others.state();
        std::erase_if(share.tensors, [&](const StateTensor& t) { return (t.name.size() + part) % 2 == 0; });
        words.push_back(WritePart(files, *again, part, share, {}).value());
      }
      ASSERT_TRUE(CommitSave(files, "run", *again, others.state(), words, 2).ok());
    });
    WritePart(files, *save, 1, asleep.state(), {}).IgnoreError();
    if (!slept) break;
    const auto loaded = LoadNewest(files, "run", nullptr);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(Difference(*loaded, others), "");
    // What it wrote goes with the next save.
    TestState after(kSeed + 2, 8);
    ASSERT_TRUE(Save(files, "run", after.state(), 2).ok());
    std::vector<std::string> found = files.List("run/checkpoints/step-0000000007").value();
    EXPECT_LE(found.size(), 5u) << found.front();
  }
  EXPECT_GT(n, 6);
}

TEST_F(CommitTest, WhereTheLastCommitIsDamagedTheOneBeforeItIsTaken) {
  for (const int64_t step : {1, 2, 3}) ASSERT_TRUE(SaveStep(step, 3).ok());
  files_.Bytes("run/checkpoints/step-0000000003-g1/weights.safetensors").back() ^= 1;
  std::vector<std::string> warnings;
  EXPECT_EQ(ResumesFrom(&warnings), 2);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("step 3 of generation 1, is lost"), std::string::npos) << warnings[0];
  // A copy whose mark says something else is none, nor one of another run without a coordinator.
  files_.Bytes("run/checkpoints/step-0000000002-g1/committed")[13] ^= 1;
  EXPECT_EQ(ResumesFrom(), 1);
  ASSERT_TRUE(files_.RemoveFile("run/checkpoints/step-0000000001-g1/committed").ok());
  TestState alone(kSeed, 2);
  ASSERT_TRUE(Save(files_, "run", alone.state(), 5).ok());
  const auto lost = LoadCommitted(files_, "run", *coordinator_.last(), nullptr);
  EXPECT_TRUE(absl::IsDataLoss(lost.status())) << lost.status();
  for (const char* part : {"step 3 of generation 1", "submit the job anew", "step-0000000003-g1"}) {
    EXPECT_NE(std::string(lost.status().message()).find(part), std::string::npos) << lost.status();
  }
}

TEST_F(CommitTest, AnotherManifestUnderTheNameOfACommitIsRefused) {
  ASSERT_TRUE(SaveStep(1).ok());
  ASSERT_TRUE(SaveStep(2).ok());
  CommitPoint other = *coordinator_.last();
  other.digest[5] = other.digest[5] == '0' ? '1' : '0';
  std::vector<std::string> warnings;
  const auto loaded = LoadCommitted(files_, "run", other, &warnings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->step(), 1);
}

// Nothing before it could be committed again: a rank that took an older one for a moment's error would compute in vain.
TEST_F(CommitTest, ACommitThatCannotBeReadNowIsNotLost) {
  ASSERT_TRUE(SaveStep(1).ok());
  ASSERT_TRUE(SaveStep(2).ok());
  for (const char* name : {"manifest.json", "weights.safetensors"}) {
    files_.FailReadsOf(std::string("step-0000000002-g1/") + name, absl::UnknownError("input/output error"));
    std::vector<std::string> warnings;
    const auto loaded = LoadCommitted(files_, "run", *coordinator_.last(), &warnings);
    EXPECT_TRUE(absl::IsUnknown(loaded.status())) << loaded.status();
    EXPECT_TRUE(warnings.empty());
  }
  files_.FailReadsOf("", absl::OkStatus());
  EXPECT_EQ(LoadCommitted(files_, "run", *coordinator_.last(), nullptr)->step(), 2);
  // Some other rank cannot read it: all take the one before.
  EXPECT_EQ(LoadCommitted(files_, "run", *coordinator_.last(), nullptr, /*most_step=*/1)->step(), 1);
}

TEST_F(CommitTest, NothingNewerThanTheCommitIsTaken) {
  ASSERT_TRUE(SaveStep(1).ok());
  const CommitPoint first = *coordinator_.last();
  ASSERT_TRUE(SaveStep(2).ok());
  EXPECT_EQ(LoadCommitted(files_, "run", first, nullptr)->step(), 1);
}

// A run by hand on the folder of a job leaves the job's checkpoints alone.
TEST_F(CommitTest, WithoutACoordinatorNoGenerationsFolderIsTouched) {
  ASSERT_TRUE(SaveStep(1).ok());
  coordinator_.LoseAnswers();
  EXPECT_FALSE(SaveStep(2).ok());
  for (const int64_t step : {3, 4}) {
    TestState state(kSeed, step);
    ASSERT_TRUE(Save(files_, "run", state.state(), 1).ok());
  }
  EXPECT_EQ(Folders(), (std::vector<std::string>{"step-0000000001-g1", "step-0000000002-g1", "step-0000000004"}));
}

TEST_F(CommitTest, NamesThatAreNoneOfOursAreLeftAlone) {
  ASSERT_TRUE(SaveStep(1).ok());
  for (const char* name :
       {"step-0000000001-g0", "step-0000000001-g01", "step-0000000001-g-1", "step-0000000001-g", "step-0000000001-g1x",
        "step-0000000001-h1", "step-1-g1", "step-0000000001-g99999999999999999999"}) {
    ASSERT_TRUE(files_.CreateFolder("run/checkpoints/" + std::string(name)).ok());
  }
  const size_t before = Folders().size();
  EXPECT_EQ(ListSteps(files_, "run")->size(), 1u);
  ASSERT_TRUE(SaveStep(2, 1).ok());
  EXPECT_EQ(Folders().size(), before);
}

// The process or the machine dies at any operation, with the answer of the coordinator or without: what it has
// committed is whole, and the next generation goes on from it and tidies up.
class FencedCrashTest : public ::testing::TestWithParam<std::pair<bool, int>> {};

absl::Status SaveInParts(FileSystem& files, int64_t step, const Fencing& fencing, int parts) {
  TestState state(kSeed + step, step);
  if (parts == 1) return Save(files, "run", state.state(), 2, &fencing).status();
  std::vector<std::string> warnings, words;
  const auto save = BeginSave(files, "run", step, warnings, {fencing.generation, NewSaveToken()});
  if (!save.ok()) return save.status();
  for (int part = 0; part < parts; ++part) {
    State share = state.state();
    const std::vector<int> part_of = ShareTensors(share, parts);
    for (size_t t = part_of.size(); t-- > 0;) {
      if (part_of[t] != part) share.tensors.erase(share.tensors.begin() + static_cast<int64_t>(t));
    }
    const auto word = WritePart(files, *save, part, share, {});
    if (!word.ok()) {
      AbandonSave(files, *save);
      return word.status();
    }
    words.push_back(*word);
  }
  return CommitSave(files, "run", *save, state.state(), words, 2, &fencing).status();
}

TEST_P(FencedCrashTest, AtEveryOperationTheLastCommitIsWhole) {
  int survived_old = 0, survived_new = 0;
  for (int64_t n = 0;; ++n) {
    bool finished = false;
    for (int variant = 0; variant < 5; ++variant) {
      SCOPED_TRACE(::testing::Message() << "operation " << n << ", variant " << variant);
      FaultFileSystem files;
      ASSERT_TRUE(files.CreateFolder("run").ok());
      ASSERT_TRUE(files.SyncFolder("").ok());
      Coordinator coordinator;
      const auto [answer_is_lost, parts] = GetParam();
      const auto save = [&, parts = parts](int64_t step) {
        return SaveInParts(files, step, coordinator.Ranks(), parts);
      };
      for (const int64_t step : {1, 2}) ASSERT_TRUE(save(step).ok());
      if (answer_is_lost) coordinator.LoseAnswers();
      files.CrashAt(n);
      save(3).IgnoreError();
      finished = files.operations() < n;
      const CrashKind kind = variant == 0   ? CrashKind::kDropAll
                             : variant == 1 ? CrashKind::kKeepNames
                                            : CrashKind::kTorn;
      files.Reboot(kind, kSeed + variant);
      std::vector<std::string> warnings;
      const auto loaded = LoadCommitted(files, "run", *coordinator.last(), &warnings);
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_TRUE(warnings.empty()) << warnings[0];
      ASSERT_EQ(loaded->step(), coordinator.last()->step);
      EXPECT_EQ(DifferenceOfStep(*loaded), "");
      (loaded->step() == 2 ? survived_old : survived_new)++;

      Coordinator next;
      next.Place(2);
      TestState after(kSeed + 4, 4);
      const Fencing fencing = next.Ranks();
      const auto saved = Save(files, "run", after.state(), 2, &fencing);
      ASSERT_TRUE(saved.ok()) << saved.status();
      EXPECT_TRUE(saved->warnings.empty());
      for (const std::string& path : files.AllPaths()) EXPECT_FALSE(path.ends_with(".tmp")) << path;
      EXPECT_LE(files.List("run/checkpoints")->size(), 2u);
      EXPECT_EQ(LoadNewest(files, "run", nullptr)->step(), 4);
    }
    if (n > 90 || finished) break;
  }
  EXPECT_GT(survived_old, 50);
  EXPECT_GT(survived_new, 10);
}

INSTANTIATE_TEST_SUITE_P(AnswersAndRanks, FencedCrashTest,
                         ::testing::Values(std::pair(false, 1), std::pair(true, 1), std::pair(false, 3)));

}  // namespace
}  // namespace filigree::checkpoint
