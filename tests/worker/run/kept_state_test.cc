#include "tests/worker/run/kept_state.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/train/ownership.h"

// After a loss: who goes on from memory, who takes over a state, and what is none.

namespace filigree::train {
namespace {

TEST_F(KeptStateTest, AllWhoAreLeftGoOnFromMemoryAlsoUnderANewFirstRank) {
  Process a, b, c;
  EXPECT_EQ(Generation({&a, &b, &c}, 6)[0].way, Way::kNothing);
  Lose(a);
  CutLog(2);
  const auto kept = Generation({&b, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kMemory);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(Sha(b), Undisturbed());
  EXPECT_EQ(Sha(c), Sha(b));
  ExpectWholeLog();
}

TEST_F(KeptStateTest, ANewcomerGetsTheStateOfTheOthersWhereverItStands) {
  for (const int newcomer : {0, 1, 2}) {
    fs::remove_all(RunDir());
    Process a, b, c, d;
    Generation({&a, &b, &c}, 7);  // the last checkpoint is that of step 4
    Lose(a);
    CutLog(1);
    std::vector<Process*> next = {&b, &c};
    next.insert(next.begin() + newcomer, &d);
    const auto kept = Generation(next, 9);
    EXPECT_EQ(kept[0].way, Way::kCheckpoint);
    EXPECT_EQ(kept[0].step, 7);
    EXPECT_EQ(Sha(d), Undisturbed());
    EXPECT_EQ(Sha(b), Sha(d));
    ExpectWholeLog();
  }
}

// Whoever is a step behind is as good as new.
TEST_F(KeptStateTest, TheNewestOfSeveralStatesCounts) {
  Process a, b, late;
  Generation({&a, &b}, 5);
  late.run = std::move(b.run);
  Process c;
  Generation({&a, &c}, 6);
  Lose(a);
  const auto kept = Generation({&late, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kCheckpoint);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(Sha(late), Undisturbed());
}

TEST_F(KeptStateTest, StatesThatDifferAreNotKept) {
  Process a, b, c;
  Generation({&a, &b, &c}, 6);
  Lose(a);
  b.run->state->weights.data()[3] += 1;
  const auto kept = Generation({&b, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kNothing);
  EXPECT_NE(kept[0].note.find("do not hold the same state"), std::string::npos);
  EXPECT_EQ(Sha(b), Undisturbed());
}

// Who was the first is alive and still busy, with a checkpoint for instance, when the others begin again.
TEST_F(KeptStateTest, AnotherFirstRankWaitsForTheLock) {
  Process old, a, b;
  Generation({&old, &a, &b}, 5);
  ASSERT_TRUE(old.run->lock.has_value());
  meanwhile_ = [&old](parallel::World& world, const std::atomic<bool>& over) {
    while (world.progress().phase() != std::string_view(kWaitsForLock) && !over) std::this_thread::yield();
    if (!over) Lose(old);
  };
  const auto kept = Generation({&a, &b}, 9);
  EXPECT_EQ(old.run, nullptr);
  EXPECT_EQ(kept[0].way, Way::kMemory);
  EXPECT_EQ(Sha(a), Undisturbed());
}

TEST_F(KeptStateTest, WhatIsOwedIsNotKept) {
  settings_.parallel.wire = config::Wire::kBf16;
  Process a, b, c;
  Generation({&a, &b}, 3);
  Lose(a);
  EXPECT_EQ(Generation({&b, &c}, 4)[0].way, Way::kNothing);
}

// Moments of matrices with owners stay where they are owned again, and change places through a checkpoint.
TEST_F(KeptStateTest, OwnersGoOnAsLongAsTheyHaveAllTogether) {
  settings_.sparsity.regime = config::Regime::kExact;
  Process a, b, c;
  Generation({&a, &b}, 3);
  EXPECT_EQ(Generation({&a, &b}, 5)[0].way, Way::kMemory);
  const auto swapped = Generation({&b, &a}, 6);
  EXPECT_EQ(swapped[0].way, Way::kCheckpoint);
  EXPECT_EQ(swapped[0].step, 5);
  const auto grown = Generation({&b, &c, &a}, 7);
  EXPECT_EQ(grown[0].way, Way::kCheckpoint);
  EXPECT_EQ(grown[0].step, 6);
  Lose(b);
  EXPECT_EQ(Generation({&a, &c}, 9)[0].way, Way::kNothing);  // what b owned is gone
  EXPECT_EQ(SavedSha(), Undisturbed());
  ExpectWholeLog();
}

TEST_F(KeptStateTest, RanksThatShareAModelGoOnAsLongAsTheyHaveAllTogether) {
  settings_.model.tensor_groups = settings_.parallel.tensor = 2;
  Process first, second, other_first, other_second, fresh;  // of two groups
  Generation({&first, &second, &other_first, &other_second}, 3);
  EXPECT_EQ(Generation({&first, &other_second}, 5)[0].way, Way::kMemory);
  const auto swapped = Generation({&other_second, &first}, 6);
  EXPECT_EQ(swapped[0].way, Way::kCheckpoint);
  EXPECT_EQ(swapped[0].step, 5);
  const auto grown = Generation({&other_second, &first, &fresh, &second}, 7);  // one is new, one behind
  EXPECT_EQ(grown[0].way, Way::kCheckpoint);
  EXPECT_EQ(grown[0].step, 6);
  Lose(other_second);
  Lose(fresh);  // of the same place
  EXPECT_EQ(Generation({&first, &second}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(SavedSha(), Undisturbed());
  ExpectWholeLog();
}

TEST_F(KeptStateTest, MomentsThatTwoHoldersDoNotShareAreNotKept) {
  settings_.model.tensor_groups = settings_.parallel.tensor = 2;
  Process a, b, c, d;
  Generation({&a, &b, &c, &d}, 5);
  for (int t = 0; t < d.run->state->registry.size(); ++t) {
    const model::TensorInfo& info = d.run->state->registry[t];
    const std::vector<int> owners = OwnersIn(settings_, d.run->state->registry, {2, 2});
    if (owners[t] == 1) d.run->state->optimizer.m().tensor(info)[0] += 1;
  }
  const auto kept = Generation({&a, &b, &c, &d}, 9);
  EXPECT_EQ(kept[0].way, Way::kNothing);
  EXPECT_NE(kept[0].note.find("do not hold the same state"), std::string::npos) << kept[0].note;
  EXPECT_EQ(SavedSha(), Undisturbed());
}

TEST_F(KeptStateTest, AnUpdateThatWasBrokenOffIsNotKept) {
  Process a, b;
  Generation({&a, &b}, 5);
  EXPECT_FALSE(a.run->state->torn || b.run->state->torn);
  b.run->state->torn = true;
  Lose(a);
  EXPECT_EQ(Generation({&b}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(Sha(b), Undisturbed());
}

// Every write fails of which the path has this part.
class FullDisk : public checkpoint::FileSystem {
 public:
  explicit FullDisk(std::string part = "") : part_(std::move(part)) {}
  absl::StatusOr<std::unique_ptr<checkpoint::ReadableFile>> OpenForRead(const std::string& path) override {
    return real_.OpenForRead(path);
  }
  absl::StatusOr<std::unique_ptr<checkpoint::WritableFile>> Create(const std::string& path) override {
    if (path.find(part_) == std::string::npos) return real_.Create(path);
    return absl::ResourceExhaustedError("no space left");
  }
  absl::Status CreateFolder(const std::string& path) override { return real_.CreateFolder(path); }
  absl::Status SyncFolder(const std::string& path) override { return real_.SyncFolder(path); }
  absl::Status Rename(const std::string& from, const std::string& to) override { return real_.Rename(from, to); }
  absl::Status RemoveFile(const std::string& path) override { return real_.RemoveFile(path); }
  absl::Status RemoveFolder(const std::string& path) override { return real_.RemoveFolder(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return real_.List(path); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_.Exists(path); }

 private:
  const std::string part_;
  checkpoint::FileSystem& real_ = checkpoint::RealFileSystem();
};

TEST_F(KeptStateTest, ASaveThatIsToBeTriedAgainIsOwedAlsoAfterALoss) {
  Process a, b;
  FullDisk full("step-");
  saves_to_ = &full;
  Generation({&a, &b}, 6);  // that of step 4 was to be tried again at step 14
  saves_to_ = nullptr;
  Generation({&a, &b}, 7);
  const auto newest = checkpoint::LoadNewest(checkpoint::RealFileSystem(), RunDir(), nullptr);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->step(), 7);
}

TEST_F(KeptStateTest, WhereItCannotBeSavedAllGoOnFromTheLastCheckpoint) {
  Process a, b, c;
  Generation({&a, &b}, 6);
  Lose(a);
  FullDisk full;
  const auto kept = Generation({&c, &b}, 9, full);
  EXPECT_EQ(kept[1].way, Way::kNothing);
  EXPECT_NE(kept[1].note.find("no space left"), std::string::npos) << kept[1].note;
  EXPECT_EQ(Sha(c), Undisturbed());
  ExpectWholeLog();
}

}  // namespace
}  // namespace filigree::train
