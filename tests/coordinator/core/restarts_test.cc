#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

contract::JobSpec Limited(int32_t restart_limit) {
  contract::JobSpec spec = Spec("job");
  spec.restart_limit = restart_limit;
  return spec;
}

// The only rank fails; the next generation, if there is one, runs.
void FailOnce(ScriptedCluster& cluster, const std::string& job) {
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.Rank(job, 0).reason = "planted";
  cluster.BeatAll(3);
}

TEST(Restarts, AsManyFaultsInARowAsTheLimitSaysAreSurvivedAndNotOneMore) {
  for (const int32_t limit : {0, 1, 3}) {
    ScriptedCluster cluster;
    cluster.Join("a", 1);
    const std::string job = cluster.Run(Limited(limit));
    for (int32_t fault = 1; fault <= limit; ++fault) {
      FailOnce(cluster, job);
      ASSERT_EQ(cluster.State(job), JobState::kRunning) << "fault " << fault << " of " << limit;
      EXPECT_EQ(cluster.Job(job).generation, fault + 1);
    }
    FailOnce(cluster, job);
    EXPECT_EQ(cluster.State(job), JobState::kFailed);
    EXPECT_EQ(cluster.Job(job).restarts, limit + 1);
    EXPECT_NE(cluster.Job(job).reason.find("planted; " + std::to_string(limit + 1) + " faults in a row"),
              std::string::npos)
        << cluster.Job(job).reason;
    EXPECT_TRUE(cluster.worker("a").last.assignments.empty());
  }
}

TEST(Restarts, WhoAsksForNoneGetsNoneAfterProgressEither) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Limited(contract::kNoRestart));
  ASSERT_TRUE(cluster.Commit(job, 5).ok());
  FailOnce(cluster, job);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
  EXPECT_NE(cluster.Job(job).reason.find("planted; it is not to be started again; last checkpoint: step 5"),
            std::string::npos)
      << cluster.Job(job).reason;
}

TEST(Restarts, ACommitIsProgress) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Limited(1));
  for (int64_t fault = 1; fault <= 6; ++fault) {
    ASSERT_TRUE(cluster.Commit(job, fault).ok());
    FailOnce(cluster, job);
    ASSERT_EQ(cluster.State(job), JobState::kRunning) << "fault " << fault;
  }
  EXPECT_EQ(cluster.Job(job).restarts, 6);
  EXPECT_EQ(cluster.Job(job).fruitless, 0);
  FailOnce(cluster, job);
  EXPECT_EQ(cluster.Job(job).fruitless, 1);
  FailOnce(cluster, job);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
}

TEST(Restarts, AStepThatNobodyHadReachedIsProgressTheSameStepAgainIsNot) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Limited(1));
  const auto fail_at = [&](int64_t step) {
    cluster.Rank(job, 0).progress.step = step;
    FailOnce(cluster, job);
  };
  fail_at(10);
  EXPECT_EQ(cluster.Job(job).fruitless, 0);
  EXPECT_EQ(cluster.Job(job).reached_step, 10);
  fail_at(10);
  EXPECT_EQ(cluster.Job(job).fruitless, 1);
  fail_at(11);
  EXPECT_EQ(cluster.Job(job).fruitless, 0);
  fail_at(3);
  fail_at(11);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
}

TEST(Restarts, TheCountOutlivesTheCoordinator) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Limited(1));
  FailOnce(cluster, job);
  cluster.RestartCoordinator();
  cluster.BeatAll(2);
  ASSERT_EQ(cluster.State(job), JobState::kRunning);
  FailOnce(cluster, job);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
}

TEST(Restarts, AGenerationThatDoesNotComeUpInTimeIsAFaultOfTheRankThatIsMissing) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  contract::JobSpec spec = Limited(0);
  spec.data = spec.min_data = 2;
  spec.deadlines.start = 5;
  const std::string job = cluster.Submit(spec);
  ASSERT_TRUE(cluster.Beat("a").ok());
  cluster.Rank(job, 1).state = RankState::kStarting;
  cluster.Live(4'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);
  cluster.Live(2'500 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
  EXPECT_NE(cluster.Job(job).reason.find("rank 1 on worker a does not run 5 s after it was placed (deadlines.start)"),
            std::string::npos)
      << cluster.Job(job).reason;
}

TEST(Restarts, AJobThatIsEmptiedOffAWorkerHasNotFailed) {
  ScriptedCluster cluster;
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  contract::JobSpec spec = Limited(0);
  spec.deadlines.drain = 5;
  const std::string job = cluster.Run(spec);
  cluster.Join("b", 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainWorker(cluster.now(), {"a"})).ok());
  cluster.Live(8'000 * kMs);  // no checkpoint comes; the limit of restarts is 0
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).ranks[0].worker, "b");
  EXPECT_EQ(cluster.Job(job).restarts, 0);
}

TEST(Restarts, WhatRanBeforeIsPlacedBeforeWhatIsNew) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Limited(3));
  contract::JobSpec urgent = Spec("urgent");
  urgent.priority = contract::kMaxPriority;
  const std::string other = cluster.Submit(urgent);
  FailOnce(cluster, job);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.State(other), JobState::kQueued);
}

TEST(Restarts, AJobThatRanBeforeIsNotHeldToTheDeadlineOfTheQueue) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  contract::JobSpec spec = Limited(3);
  spec.deadlines.queue = 5;
  const std::string job = cluster.Run(spec);
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainWorker(cluster.now(), {"a"})).ok());
  cluster.Live(20'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);  // the only worker takes no more ranks
  cluster.Join("b", 1);
  cluster.Live(2'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
}

}  // namespace
}  // namespace filigree::coordinator
