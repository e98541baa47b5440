#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

using Code = absl::StatusCode;

TEST(Commits, TheRowIsTheCommitAndTheNextGenerationStartsFromIt) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(cluster.Commit(job, 100).ok());
  ASSERT_TRUE(cluster.Commit(job, 200).ok());
  EXPECT_EQ(cluster.events.back().kind, EventKind::kCommitted);
  EXPECT_EQ(cluster.events.back().step, 200);
  const CommitRow* commit = cluster.core().tables().LastCommit(job);
  ASSERT_NE(commit, nullptr);
  EXPECT_EQ(commit->point, (CommitPoint{1, 200, kDigest}));
  EXPECT_EQ(commit->wall_us, cluster.now().wall_us);
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.BeatAll(3);
  ASSERT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).resume, commit->point);
  EXPECT_EQ(cluster.worker("a").last.assignments[0].resume, commit->point);
}

TEST(Commits, TheLastOneMayBeRepeatedAndMakesNoSecondRow) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(cluster.Commit(job, 100).ok());
  const auto again = cluster.core().Commit(cluster.now(), {cluster.SpeakerOf("a"), job, {1, 100, kDigest}});
  EXPECT_TRUE(again.reply.ok());
  EXPECT_TRUE(again.outcome.rows.empty());
  EXPECT_TRUE(again.outcome.events.empty());
  cluster.core().Accept(again.outcome);
  cluster.RestartCoordinator();  // whose answer was lost with the process
  EXPECT_TRUE(cluster.Commit(job, 100).ok());
}

TEST(Commits, StepsAscendAndADigestIsNeverReplaced) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  ASSERT_TRUE(cluster.Commit(job, 100).ok());
  EXPECT_TRUE(Says(cluster.Commit(job, 99), Code::kFailedPrecondition, "steps must ascend"));
  const CommitRequest other{cluster.SpeakerOf("a"), job, {1, 100, "fedcba9876543210"}};
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Commit(cluster.now(), other)).status(), Code::kFailedPrecondition,
                   "step 100 is committed already with manifest 0123456789abcdef"));
  EXPECT_EQ(cluster.core().tables().LastCommit(job)->point.digest, kDigest);
}

TEST(Commits, AnotherGenerationThanTheJobsIsRefused) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.BeatAll(4);
  ASSERT_EQ(cluster.Job(job).generation, 2);
  EXPECT_TRUE(Says(cluster.Commit(job, 100, 1), Code::kFailedPrecondition, "a stale generation is refused for ever"));
  EXPECT_TRUE(Says(cluster.Commit(job, 100, 3), Code::kFailedPrecondition, "the job is at generation 2"));
  EXPECT_TRUE(cluster.Commit(job, 100, 2).ok());
}

TEST(Commits, OnlyWorkersWithARankOfTheJobMayCommit) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job"));
  EXPECT_TRUE(Says(cluster.Commit(job, 100, 1, "b"), Code::kPermissionDenied, "worker b has no rank of it"));
  cluster.worker("ghost").incarnation = 1;
  EXPECT_TRUE(Says(cluster.Commit(job, 100, 1, "ghost"), Code::kNotFound, "worker ghost is not known"));
}

TEST(Commits, WhatIsOutOfRangeIsRefused) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  CommitRequest request{cluster.SpeakerOf("a"), job, {1, 100, "not-hex"}};
  const auto ask = [&] { return cluster.Keep(cluster.core().Commit(cluster.now(), request)).status(); };
  EXPECT_TRUE(Says(ask(), Code::kInvalidArgument, "digest of the manifest"));
  request.point.digest = kDigest;
  for (const int64_t step : {int64_t{-1}, (int64_t{1} << 53) + 1}) {
    request.point.step = step;
    EXPECT_TRUE(Says(ask(), Code::kInvalidArgument, "is out of range"));
  }
  request.point.step = 100;
  request.job = "other-1";
  EXPECT_TRUE(Says(ask(), Code::kNotFound, "job other-1 is not known"));
}

TEST(Commits, AGenerationThatIsDrainedMayStillCommitOneThatIsCancelledOrAtFaultMayNot) {
  ScriptedCluster cluster;
  cluster.follow_checkpoints = false;
  cluster.Join("a", 4);
  const std::string drained = cluster.Run(Spec("drained")), cancelled = cluster.Run(Spec("cancelled")),
                    faulty = cluster.Run(Spec("faulty", 2));
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainJob(cluster.now(), {drained})).ok());
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {cancelled})).ok());
  cluster.Rank(faulty, 0).state = RankState::kFailed;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_TRUE(cluster.Commit(drained, 10).ok());
  EXPECT_TRUE(Says(cluster.Commit(cancelled, 10), Code::kFailedPrecondition, "its ranks must stop"));
  EXPECT_TRUE(
      Says(cluster.Commit(faulty, 10), Code::kFailedPrecondition, "is recovering and that generation is ended"));
}

TEST(Commits, AnEndedJobTakesNone) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_TRUE(Says(cluster.Commit(job, 100), Code::kFailedPrecondition, "the job is done"));
}

TEST(Commits, OneThatWasNotKeptIsNoCommit) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.disk_full = true;
  EXPECT_EQ(cluster.Commit(job, 100).code(), Code::kUnavailable);
  EXPECT_EQ(cluster.core().tables().LastCommit(job), nullptr);
  cluster.disk_full = false;
  EXPECT_TRUE(cluster.Commit(job, 100).ok());
}

// The ranks that were told to start may be faster with their first checkpoint than the last of them with its report.
TEST(Commits, APlacedGenerationMayCommit) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Submit(Spec("job"));
  ASSERT_EQ(cluster.State(job), JobState::kPlaced);
  EXPECT_TRUE(cluster.Commit(job, 0).ok());
}

}  // namespace
}  // namespace filigree::coordinator
