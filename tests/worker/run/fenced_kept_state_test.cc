#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/worker/run/kept_state.h"

// The same under a coordinator, who says which checkpoints count.

namespace filigree::train {
namespace {

class FencedKeptStateTest : public KeptStateTest {
 protected:
  void Place(int64_t generation, const std::vector<Process*>& processes, bool rollback = false) {
    for (Process* process : processes) {
      process->fencing.emplace();
      process->fencing->job = "job-1";
      process->fencing->generation = generation;
      process->fencing->rollback = rollback;
      process->fencing->resume = last_;
      process->fencing->commit = [this](const CommitPoint& point) {
        if (answer_.ok()) last_ = point;
        return answer_;
      };
    }
  }
  std::optional<CommitPoint> last_;
  absl::Status answer_ = absl::OkStatus();
};

TEST_F(FencedKeptStateTest, WhatNewcomersTakeOverIsCommitted) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  EXPECT_EQ(last_->step, 4);
  Lose(a);
  Place(2, {&c, &b});
  const auto kept = Generation({&c, &b}, 9);
  EXPECT_EQ(kept[0].way, Way::kCheckpoint);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(last_->step, 9);
  EXPECT_EQ(last_->generation, 2);
  EXPECT_EQ(Sha(c), Undisturbed());
  ExpectWholeLog();
}

TEST_F(FencedKeptStateTest, ARollbackKeepsNothing) {
  Process a, b;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  Place(2, {&a, &b}, /*rollback=*/true);
  EXPECT_EQ(Generation({&a, &b}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(Sha(a), Undisturbed());
}

TEST_F(FencedKeptStateTest, NobodyGoesBehindTheLastCommitNorCommitsItAgain) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 3);
  Process behind;
  behind.run = std::move(b.run);
  Place(2, {&a, &c});
  Generation({&a, &c}, 4);  // commits 4
  const CommitPoint committed = *last_;
  EXPECT_EQ(committed.step, 4);
  Place(3, {&behind});
  EXPECT_EQ(Generation({&behind}, 4)[0].way, Way::kNothing);
  EXPECT_EQ(behind.run->state->step, 4);
  // Whoever has just committed need not again for the sake of newcomers.
  Process d;
  Place(4, {&a, &d});
  EXPECT_EQ(Generation({&a, &d}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(last_->step, 9);
  EXPECT_EQ(Sha(d), Undisturbed());
}

// Whoever asks for the commit is lost before there is an answer.
TEST_F(FencedKeptStateTest, AfterTheLastStepWhatIsKeptWantsWhatComesThen) {
  enum Next { kAllWhoAreLeft, kANewcomerToo, kInTheEvaluation };
  for (const Next next : {kAllWhoAreLeft, kANewcomerToo, kInTheEvaluation}) {
    fs::remove_all(RunDir());
    last_.reset();
    Process a, b, c;
    Place(1, {&a, &b});
    answer_ = absl::UnavailableError("the coordinator is not reached");
    last_save_works_ = false;
    Generation({&a, &b}, 9);
    Lose(a);
    EXPECT_EQ(b.run->state->step, 9);
    EXPECT_EQ(b.run->owed, Owed::kSave);
    if (next == kInTheEvaluation) {
      b.run->owed = Owed::kEvaluation;
      b.run->settings.eval.every = 100;  // and at the end
    }
    answer_ = absl::OkStatus();
    last_save_works_ = true;
    std::vector<Process*> processes = {&b};
    if (next == kANewcomerToo) processes.insert(processes.begin(), &c);
    Place(2, processes);
    // An evaluation asks whether to stop, which is where these tests lose a rank: here nobody is.
    const auto kept = Generation(processes, next == kInTheEvaluation ? 10 : 9);
    constexpr Way kWays[] = {Way::kMemory, Way::kCheckpoint, Way::kMemory};
    EXPECT_EQ(kept[0].way, kWays[next]);
    EXPECT_EQ(kept[0].step, 9);
    EXPECT_EQ(last_->step, 9);
    EXPECT_EQ(last_->generation, 2);
    EXPECT_EQ(Sha(b), Undisturbed());
    ExpectWholeLog();
    EXPECT_EQ(telemetry::ReadLog(RunDir() + "/steps.jsonl")->evals.size(), next == kInTheEvaluation ? 1u : 0u);
  }
}

TEST_F(FencedKeptStateTest, ALateWriterSavesNothingForNewcomers) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  Place(2, {&b, &c});
  answer_ = absl::FailedPreconditionError("the job is at generation 3");
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings_, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    Process& mine = (*world)->first() ? b : c;
    const auto kept = KeepState(mine.run.get(), RunDir(), 2, **world, checkpoint::RealFileSystem(), &*mine.fencing);
    EXPECT_TRUE(IsSuperseded(kept.status())) << kept.status();
  });
}

}  // namespace
}  // namespace filigree::train
