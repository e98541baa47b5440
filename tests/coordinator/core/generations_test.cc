#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

// What was said of the last fault.
std::string LastFault(const ScriptedCluster& cluster) {
  std::string text = "none";
  for (const Event& event : cluster.events)
    if (event.kind == EventKind::kFault) text = event.text;
  return text;
}

const Assignment* AssignmentOf(ScriptedCluster& cluster, const std::string& worker, const std::string& job) {
  for (const Assignment& assignment : cluster.worker(worker).last.assignments)
    if (assignment.job == job) return &assignment;
  return nullptr;
}

TEST(Generations, TheNextOneWaitsUntilEveryWorkerSaidThatTheLastIsGone) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.Rank(job, 1).state = RankState::kFailed;
  cluster.Rank(job, 1).reason = "out of memory";
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  EXPECT_EQ(cluster.Job(job).reason, "rank 1 on worker b failed: out of memory");
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);  // a still runs
  EXPECT_EQ(cluster.Job(job).generation, 1);
  ASSERT_TRUE(cluster.Beat("a").ok());  // is told to stop; what it said was from before
  EXPECT_EQ(AssignmentOf(cluster, "a", job)->action, Action::kStop);
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);
  EXPECT_EQ(cluster.Job(job).generation, 2);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
}

TEST(Generations, ALongReasonKeepsItsBeginningAndItsEnd) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.Rank(job, 0).reason = "exit code 3\n" + std::string(5000, 'x') + "\nlast words";
  ASSERT_TRUE(cluster.Beat("a").ok());
  const std::string reason = LastFault(cluster);
  EXPECT_EQ(reason.find("rank 0 on worker a failed: exit code 3 xxx"), 0u);
  EXPECT_NE(reason.find("xxx ... xxx"), std::string::npos);
  EXPECT_EQ(reason.substr(reason.size() - 14), "xxx last words");
  EXPECT_EQ(reason.size(), 500u);
}

TEST(Generations, ASilentWorkerIsWaitedForAsLongAsItsLeaseRuns) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  cluster.Join("c", 1);
  const std::string job = cluster.Run(Spec("job", 2, 1, 2));
  const int64_t lease_us = cluster.core().options().lease_us;
  ASSERT_TRUE(cluster.Beat("b").ok());  // its last words
  cluster.Rank(job, 0).state = RankState::kFailed;
  ASSERT_TRUE(cluster.Beat("a").ok());
  ASSERT_TRUE(cluster.Beat("a").ok());
  for (int64_t passed = 500 * kMs; passed < lease_us; passed += 500 * kMs) {
    cluster.Pass(500 * kMs);
    ASSERT_TRUE(cluster.Beat("a").ok());
    ASSERT_TRUE(cluster.Beat("c").ok());
    EXPECT_EQ(cluster.Job(job).generation, 1) << passed;
  }
  cluster.Pass(500 * kMs);
  ASSERT_TRUE(cluster.Beat("c").ok());
  EXPECT_EQ(cluster.Job(job).generation, 1) << "others' leases are a Tick's to end";
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  EXPECT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).ranks[1].worker, "c");
}

TEST(Generations, AWorkerThatSleptPastItsLeaseIsRefusedInEverything) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  const Speaker sleeper = cluster.SpeakerOf("a");
  cluster.Pass(cluster.core().options().lease_us);
  cluster.Join("b", 1);
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).generation, 2);
  CommitRequest commit{sleeper, job, {1, 100, kDigest}};
  EXPECT_EQ(cluster.Keep(cluster.core().Commit(cluster.now(), commit)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  commit.point.generation = 2;  // even with the right number
  EXPECT_EQ(cluster.Keep(cluster.core().Commit(cluster.now(), commit)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  MaskReportRequest masks;
  masks.speaker = sleeper;
  masks.job = job;
  masks.generation = 2;
  masks.after = {{"weights", kDigest}};
  EXPECT_EQ(cluster.Keep(cluster.core().ReportMask(cluster.now(), masks)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster.core().tables().LastCommit(job), nullptr);
}

TEST(Generations, ReportsOfAnOldOneChangeNothingAndItIsToBeStopped) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.BeatAll(4);
  ASSERT_EQ(cluster.Job(job).generation, 2);
  ASSERT_EQ(cluster.State(job), JobState::kRunning);
  RankReport stale;
  stale.job = job;
  stale.generation = 1;
  stale.state = RankState::kFailed;
  HeartbeatRequest request;
  request.speaker = cluster.SpeakerOf("a");
  request.epoch = cluster.worker("a").epoch;
  request.sequence = ++cluster.worker("a").sequence;
  request.ranks = {stale, cluster.Rank(job, 0)};
  const auto reply = cluster.Keep(cluster.core().Heartbeat(cluster.now(), request));
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  ASSERT_EQ(reply->assignments.size(), 1u);
  EXPECT_EQ(reply->assignments[0].generation, 2);
}

TEST(Generations, ARestartedCoordinatorAdoptsWhatRunsAndStartsNothing) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  cluster.Join("b", 2);
  const std::string job = cluster.Run(Spec("job", 4));
  const std::string waiting = cluster.Submit(Spec("waiting"));
  const std::vector<RankPlace> ranks = cluster.Job(job).ranks;
  cluster.RestartCoordinator();
  cluster.BeatAll(3);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).generation, 1);
  EXPECT_EQ(cluster.Job(job).ranks, ranks);
  EXPECT_EQ(cluster.State(waiting), JobState::kQueued);
  EXPECT_EQ(AssignmentOf(cluster, "a", job)->spec, nullptr);  // it has it
}

TEST(Generations, RanksThatVanishedWhileTheCoordinatorWasAwayAreStartedAsTheSameGeneration) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Submit(Spec("job"));
  // The answer with the assignment never arrived, and the coordinator is another one now.
  cluster.RestartCoordinator();
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).generation, 1);
}

TEST(Generations, ARankThatIsNoLongerToldOfIsAFault) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.worker("a").ranks[{job, 1}].erase(1);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  EXPECT_NE(cluster.Job(job).reason.find("rank 1 on worker a vanished"), std::string::npos) << cluster.Job(job).reason;
}

TEST(Generations, ARankThatStopsUnaskedIsAFault) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kStopped;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(LastFault(cluster), "rank 0 on worker a stopped without being asked");
  EXPECT_EQ(cluster.Job(job).restarts, 1);
}

// mpirun ends all ranks of a job where one fails.
TEST(Generations, ARankThatFailedIsTheFaultAndNotOneThatStopped) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.Rank(job, 0).state = RankState::kStopped;
  cluster.Rank(job, 1).state = RankState::kFailed;
  cluster.Rank(job, 1).reason = "killed by signal 9";
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(LastFault(cluster), "rank 1 on worker a failed: killed by signal 9");
  EXPECT_EQ(cluster.Job(job).restarts, 1);
}

TEST(Generations, ARankThatFailedIsTheFaultAndNotOneThatVanished) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  const std::string job = cluster.Run(Spec("job", 2));
  cluster.worker("a").ranks[{job, 1}].erase(0);
  cluster.Rank(job, 1).state = RankState::kFailed;
  cluster.Rank(job, 1).reason = "the disk is full";
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(LastFault(cluster), "rank 1 on worker a failed: the disk is full");
}

// Whatever a worker writes as its reason, people see one printable line.
TEST(Generations, ReasonsFromOutsideAreMadePrintable) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.Rank(job, 0).reason = "one\ntwo \x1b[31m" + std::string(8000, 'x');
  ASSERT_TRUE(cluster.Beat("a").ok());
  const std::string reason = LastFault(cluster);
  EXPECT_NE(reason.find("one two ?[31mxxx"), std::string::npos) << reason;
  EXPECT_LE(reason.size(), 500u);
}

TEST(Generations, ADecisionThatWasNotKeptLeavesTheOldOneAndIsMadeAgain) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.disk_full = true;
  EXPECT_EQ(cluster.Beat("a").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(LastFault(cluster), "none");
  cluster.disk_full = false;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).restarts, 1);
  EXPECT_EQ(LastFault(cluster), "rank 0 on worker a failed: ");
}

// A placement that could not be kept is made anew, perhaps elsewhere, under the same number.
TEST(Generations, APlacementThatWasDroppedLeavesNoTrace) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string first = cluster.Run(Spec("first"));
  const std::string second = cluster.Submit(Spec("second", 2));  // one rank at least, two if they fit
  cluster.Rank(first, 0).state = RankState::kFinished;
  cluster.disk_full = true;
  EXPECT_FALSE(cluster.Beat("a").ok());  // would have ended the first job and placed the second on a
  cluster.disk_full = false;
  cluster.Join("b", 2);
  ASSERT_EQ(cluster.State(second), JobState::kPlaced);
  ASSERT_EQ(cluster.Job(second).ranks.size(), 2u);
  EXPECT_EQ(cluster.Job(second).generation, 1);
  ASSERT_TRUE(cluster.Beat("b").ok());
  ASSERT_EQ(cluster.worker("b").last.assignments.size(), 1u);
  EXPECT_EQ(cluster.worker("b").last.assignments[0].ranks, (std::vector<int32_t>{0, 1}));
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.State(second), JobState::kRunning);
}

}  // namespace
}  // namespace filigree::coordinator
