#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

using Code = absl::StatusCode;

class Ending : public ::testing::Test {
 protected:
  absl::Status Cancel(const std::string& job) {
    return cluster.Keep(cluster.core().Cancel(cluster.now(), {job})).status();
  }
  absl::Status DrainJob(const std::string& job) {
    return cluster.Keep(cluster.core().DrainJob(cluster.now(), {job})).status();
  }
  absl::Status DrainWorker(const std::string& name) {
    return cluster.Keep(cluster.core().DrainWorker(cluster.now(), {name})).status();
  }
  Action ActionFor(const std::string& worker) { return cluster.worker(worker).last.assignments.at(0).action; }

  ScriptedCluster cluster;
};

TEST_F(Ending, ADrainedJobWritesACheckpointAndIsCancelled) {
  cluster.Join("a", 2);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.follow_checkpoints = false;
  ASSERT_TRUE(DrainJob(job).ok());
  EXPECT_EQ(cluster.State(job), JobState::kDraining);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(ActionFor("a"), Action::kCheckpointAndStop);
  ASSERT_TRUE(cluster.Commit(job, 70).ok());
  cluster.Rank(job, 0).state = RankState::kStopped;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kDraining);  // the other one still writes
  cluster.Rank(job, 1).state = RankState::kStopped;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
  EXPECT_EQ(cluster.Job(job).reason, "drained on request; last checkpoint: step 70");
  EXPECT_EQ(cluster.Job(job).ended_us, cluster.now().wall_us);
  EXPECT_EQ(cluster.Job(job).restarts, 0);
}

TEST_F(Ending, ACancelledJobStopsAtOnce) {
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(Cancel(job).ok());
  EXPECT_EQ(cluster.State(job), JobState::kDraining);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(ActionFor("a"), Action::kStop);
  EXPECT_EQ(cluster.State(job), JobState::kDraining);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
}

TEST_F(Ending, AJobWithoutRanksEndsOnTheSpot) {
  const std::string one = cluster.Submit(Spec("one")), two = cluster.Submit(Spec("two"));
  EXPECT_TRUE(Cancel(one).ok());
  EXPECT_TRUE(DrainJob(two).ok());
  EXPECT_EQ(cluster.State(one), JobState::kCancelled);
  EXPECT_EQ(cluster.State(two), JobState::kCancelled);
}

TEST_F(Ending, ADrainCanBecomeACancelButNotTheOtherWayRound) {
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(DrainJob(job).ok());
  ASSERT_TRUE(DrainJob(job).ok());
  EXPECT_EQ(cluster.Job(job).intent, Intent::kStop);
  ASSERT_TRUE(Cancel(job).ok());
  EXPECT_EQ(cluster.Job(job).intent, Intent::kCancel);
  ASSERT_TRUE(DrainJob(job).ok());
  EXPECT_EQ(cluster.Job(job).intent, Intent::kCancel);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
  EXPECT_TRUE(Cancel(job).ok());
  EXPECT_TRUE(DrainJob(job).ok());
}

TEST_F(Ending, WhatHasNotRunYetIsStoppedWithoutACheckpoint) {
  cluster.Join("a", 1);
  const std::string job = cluster.Submit(Spec("job"));
  ASSERT_EQ(cluster.State(job), JobState::kPlaced);
  ASSERT_TRUE(DrainJob(job).ok());
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_TRUE(cluster.worker("a").last.assignments.empty());  // nothing was started: it is over
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
}

TEST_F(Ending, WhatWasToldToRunAndHasNotSaidSoIsStoppedWithoutACheckpoint) {
  cluster.Join("a", 1);
  const std::string job = cluster.Submit(Spec("job"));
  ASSERT_TRUE(cluster.Beat("a").ok());
  ASSERT_EQ(cluster.State(job), JobState::kPlaced);
  ASSERT_TRUE(DrainJob(job).ok());
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(ActionFor("a"), Action::kStop);
}

// It has nothing of the job any more, so it takes nothing with it.
TEST_F(Ending, AWorkerThatLeavesAfterItsPartOfADrainIsNoFault) {
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_TRUE(DrainWorker("a").ok());
  cluster.worker("a").ranks.clear();
  ASSERT_TRUE(cluster.Beat("a").ok());
  ASSERT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("a")})).ok());
  EXPECT_EQ(cluster.State(job), JobState::kDraining);  // the other one still writes its checkpoint
  EXPECT_EQ(cluster.Job(job).restarts, 0);
}

TEST_F(Ending, AJobThatFinishesBeforeItHearsOfTheDrainIsDone) {
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(DrainJob(job).ok());
  cluster.Rank(job, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kDone);
}

TEST_F(Ending, ACheckpointThatTakesTooLongEndsWithoutIt) {
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  contract::JobSpec spec = Spec("job");
  spec.deadlines.drain = 20;
  const std::string job = cluster.Run(spec);
  ASSERT_TRUE(DrainJob(job).ok());
  cluster.Live(19'500 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kDraining);
  cluster.Live(3'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
  EXPECT_NE(cluster.Job(job).reason.find("no checkpoint 20 s after it was asked for"), std::string::npos)
      << cluster.Job(job).reason;
  EXPECT_EQ(cluster.Job(job).restarts, 0);
}

TEST_F(Ending, ARankLostWhileItsJobIsDrainedEndsTheJobToo) {
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_TRUE(DrainJob(job).ok());
  ASSERT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("b")})).ok());
  EXPECT_EQ(cluster.Job(job).intent, Intent::kCancel);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
}

TEST_F(Ending, AWorkerIsEmptiedAndMayLeaveAndItsJobsGoOnElsewhere) {
  cluster.Join("a", 2);
  cluster.Join("b", 2);
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_EQ(cluster.Job(job).ranks[0].worker, "a");
  ASSERT_TRUE(cluster.Commit(job, 30).ok());
  ASSERT_TRUE(DrainWorker("a").ok());
  EXPECT_EQ(cluster.Job(job).intent, Intent::kRequeue);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_FALSE(cluster.worker("a").last.may_leave);
  EXPECT_EQ(ActionFor("a"), Action::kCheckpointAndStop);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_TRUE(cluster.worker("a").last.may_leave);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).ranks[0].worker, "b");
  EXPECT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).resume->step, 30);
  EXPECT_EQ(cluster.Job(job).restarts, 0);  // nobody was at fault
}

TEST_F(Ending, DrainingAWorkerIsIdempotentAndKnowsWhoIsGone) {
  cluster.Join("a", 1);
  EXPECT_TRUE(DrainWorker("a").ok());
  const size_t said = cluster.events.size();
  EXPECT_TRUE(DrainWorker("a").ok());
  EXPECT_EQ(cluster.events.size(), said);
  EXPECT_TRUE(Says(DrainWorker("nobody"), Code::kNotFound, "worker nobody is not known"));
  ASSERT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("a")})).ok());
  EXPECT_TRUE(Says(DrainWorker("a"), Code::kFailedPrecondition, "worker a is gone"));
}

TEST_F(Ending, ACancelDuringARecoveryEndsTheJobWhenItsRanksAreGone) {
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.Rank(job, 0).state = RankState::kFailed;
  ASSERT_TRUE(cluster.Beat("a").ok());
  ASSERT_EQ(cluster.State(job), JobState::kRecovering);
  ASSERT_TRUE(Cancel(job).ok());
  EXPECT_EQ(cluster.State(job), JobState::kDraining);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
  EXPECT_EQ(cluster.Job(job).generation, 1);
}

TEST_F(Ending, ADrainGoesOnWhenTheCoordinatorIsRestarted) {
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(DrainJob(job).ok());
  cluster.RestartCoordinator();
  cluster.BeatAll(3);
  EXPECT_EQ(cluster.State(job), JobState::kCancelled);
}

// What was only heard is forgotten with the process: nobody will say it again.
TEST_F(Ending, AnEndThatARestartForgotOnALostWorkerIsAFaultAndNotWaitedForForEver) {
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  const std::string gone = cluster.Job(job).ranks[0].worker, stays = cluster.Job(job).ranks[1].worker;
  cluster.Rank(job, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat(gone).ok());
  cluster.Pass(cluster.core().options().lease_us / 2);
  ASSERT_TRUE(cluster.Beat(stays).ok());
  cluster.Pass(cluster.core().options().lease_us / 2 + 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  ASSERT_EQ(cluster.State(job), JobState::kRunning) << "its rank had ended: no fault";
  cluster.RestartCoordinator();
  cluster.Rank(job, 1).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat(stays).ok());
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  EXPECT_EQ(cluster.State(job), JobState::kRecovering) << cluster.Job(job).reason;
  EXPECT_NE(cluster.Job(job).reason.find("its end was not heard of"), std::string::npos) << cluster.Job(job).reason;
}

}  // namespace
}  // namespace filigree::coordinator
