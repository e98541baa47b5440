#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

// Whether processes of a generation are worth keeping for the next one, and workers that say that they leave.

namespace filigree::coordinator {
namespace {

// What worker a is told of the one job there is.
Assignment Told(ScriptedCluster& cluster) {
  const auto reply = cluster.Beat("a");
  EXPECT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->assignments.size(), 1u);
  return reply->assignments.empty() ? Assignment() : reply->assignments.front();
}

class Keeping : public testing::Test {
 protected:
  Keeping() {
    cluster.follow_checkpoints = false;
    cluster.Join("a", 2);
  }

  ScriptedCluster cluster;
};

TEST_F(Keeping, ProcessesAreKeptWhileTheyRunAndAfterAFault) {
  const std::string job = cluster.Run(Spec("job", 2));
  EXPECT_TRUE(Told(cluster).keep_processes);
  cluster.Rank(job, 1).state = RankState::kFailed;
  const Assignment told = Told(cluster);
  EXPECT_EQ(told.action, Action::kStop);
  EXPECT_TRUE(told.keep_processes);
}

TEST_F(Keeping, ProcessesAreKeptWhereTheGridGrows) {
  const std::string job = cluster.Run(Spec("job", 3));
  ASSERT_EQ(cluster.Job(job).data, 2);
  cluster.Join("b", 1);
  for (int i = 0; i < 60 && cluster.State(job) == JobState::kRunning; ++i) cluster.Live(500 * kMs);
  ASSERT_EQ(cluster.State(job), JobState::kDraining);
  const Assignment told = Told(cluster);
  EXPECT_EQ(told.action, Action::kCheckpointAndStop);
  EXPECT_TRUE(told.keep_processes);
}

TEST_F(Keeping, ProcessesAreKeptWhereTheJobMoves) {
  cluster.Run(Spec("job", 2));
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainWorker(cluster.now(), {"a"})).ok());
  const Assignment told = Told(cluster);
  EXPECT_EQ(told.action, Action::kCheckpointAndStop);
  EXPECT_TRUE(told.keep_processes);
}

TEST_F(Keeping, NobodyIsKeptWhereTheJobEnds) {
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainJob(cluster.now(), {job})).ok());
  Assignment told = Told(cluster);
  EXPECT_EQ(told.action, Action::kCheckpointAndStop);
  EXPECT_FALSE(told.keep_processes);
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {job})).ok());
  told = Told(cluster);
  EXPECT_EQ(told.action, Action::kStop);
  EXPECT_FALSE(told.keep_processes);
}

TEST_F(Keeping, OthersThanGlooStartAnew) {
  contract::JobSpec spec = Spec("job", 2);
  spec.backend = contract::Backend::kMpi;
  cluster.Run(spec);
  EXPECT_FALSE(Told(cluster).keep_processes);
}

TEST(Leaving, AWorkerThatSaysSoIsDrained) {
  ScriptedCluster cluster;
  cluster.follow_checkpoints = false;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  cluster.Join("c", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_EQ(cluster.Job(job).ranks[0].worker, "a");
  cluster.worker("a").leaving = true;
  auto reply = cluster.Beat("a");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->assignments.front().action, Action::kCheckpointAndStop);
  EXPECT_FALSE(reply->may_leave);
  EXPECT_TRUE(cluster.core().tables().FindWorker("a")->draining);
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.worker("b").last.assignments.front().action, Action::kCheckpointAndStop);
  for (const int32_t rank : {0, 1}) cluster.Rank(job, rank).state = RankState::kStopped;
  cluster.BeatAll(3);
  EXPECT_EQ(cluster.State(job), JobState::kRunning) << cluster.Job(job).reason;
  EXPECT_EQ(cluster.Job(job).restarts, 0);  // nothing was at fault
  for (const RankPlace& place : cluster.Job(job).ranks) EXPECT_NE(place.worker, "a");
  EXPECT_TRUE(cluster.worker("a").last.may_leave);
}

TEST(Leaving, RanksThatHaveStoppedByThenAreNoFault) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job", 1));
  cluster.Rank(job, 0).state = RankState::kStopped;
  cluster.worker("a").leaving = true;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.Job(job).restarts, 0);
  EXPECT_NE(cluster.State(job), JobState::kRecovering);
}

}  // namespace
}  // namespace filigree::coordinator
