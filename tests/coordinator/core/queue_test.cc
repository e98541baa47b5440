#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

TEST(Queue, AJobRunsFromSubmissionToItsEnd) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  const std::string job = cluster.Submit(Spec("night", 2));
  EXPECT_EQ(job, "night-1");
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);
  EXPECT_EQ(cluster.Job(job).generation, 1);
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);  // told to run, not yet heard to
  ASSERT_EQ(cluster.worker("a").last.assignments.size(), 1u);
  const Assignment assignment = cluster.worker("a").last.assignments[0];
  EXPECT_EQ(assignment.action, Action::kRun);
  EXPECT_EQ(assignment.ranks, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(assignment.data, 2);
  EXPECT_EQ(assignment.spec->name, "night");
  EXPECT_FALSE(assignment.resume.has_value());
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.worker("a").last.assignments[0].spec, nullptr);  // known there by now
  cluster.Rank(job, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  cluster.Rank(job, 1).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kDone);
  EXPECT_TRUE(cluster.worker("a").last.assignments.empty());
}

TEST(Queue, AJobThatNoWorkersCouldHoldIsSubmittedUntilTheyCould) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  const std::string wide = cluster.Submit(Spec("wide", 1, 4));
  EXPECT_EQ(cluster.State(wide), JobState::kSubmitted);
  const std::string other = cluster.Submit(Spec("other"));
  EXPECT_EQ(cluster.State(other), JobState::kPlaced);  // passed over, not blocked
  cluster.Join("b", 2, "a");  // the same host: together they hold a group of four, were they idle
  EXPECT_EQ(cluster.State(wide), JobState::kQueued);
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {other})).ok());
  cluster.BeatAll(2);
  EXPECT_EQ(cluster.State(wide), JobState::kRunning);
  EXPECT_EQ(cluster.Job(wide).ranks[1].worker, "a");
  EXPECT_EQ(cluster.Job(wide).ranks[2].worker, "b");
}

TEST(Queue, PriorityFirstThenOrderOfSubmission) {
  ScriptedCluster cluster;
  contract::JobSpec low = Spec("low"), high = Spec("high");
  high.priority = 1;
  const std::string low1 = cluster.Submit(low), low2 = cluster.Submit(low), high1 = cluster.Submit(high);
  cluster.Join("a", 1);
  EXPECT_EQ(cluster.State(high1), JobState::kPlaced);
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {high1})).ok());
  cluster.BeatAll(3);
  EXPECT_EQ(cluster.State(low1), JobState::kRunning);
  EXPECT_EQ(cluster.State(low2), JobState::kQueued);
}

// A large job at the head is not overtaken for ever by small ones.
TEST(Queue, NobodyOvertakesAJobThatWouldFitIdleWorkers) {
  ScriptedCluster cluster;
  cluster.Join("a", 4);
  const std::string running = cluster.Run(Spec("running", 3, 1, 3));
  const std::string large = cluster.Submit(Spec("large", 4, 1, 4));
  const std::string small = cluster.Submit(Spec("small"));  // a slot is free for it
  EXPECT_EQ(cluster.State(large), JobState::kQueued);
  EXPECT_EQ(cluster.State(small), JobState::kQueued);
  for (int rank = 0; rank < 3; ++rank) cluster.Rank(running, rank).state = RankState::kFinished;
  cluster.BeatAll(3);
  EXPECT_EQ(cluster.State(running), JobState::kDone);
  EXPECT_EQ(cluster.State(large), JobState::kRunning);
  EXPECT_EQ(cluster.State(small), JobState::kQueued);
}

TEST(Queue, AnElasticJobTakesTheLargestGridThatFitsAndKeepsItsTensorSize) {
  ScriptedCluster cluster;
  cluster.Join("a", 5);
  cluster.Join("b", 3);
  const std::string job = cluster.Run(Spec("elastic", 8, 2, 1));
  EXPECT_EQ(cluster.Job(job).data, 3);  // two groups of two on a, one on b
  EXPECT_EQ(cluster.Job(job).ranks.size(), 6u);
}

TEST(Queue, AKeyMakesOneJob) {
  ScriptedCluster cluster;
  contract::JobSpec spec = Spec("once");
  spec.idempotency_key = "key";
  const std::string job = cluster.Submit(spec);
  auto again = cluster.Keep(cluster.core().Submit(cluster.now(), {spec}));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->job, job);
  EXPECT_TRUE(again->repeated);
  spec.data = 2;
  spec.min_data = 2;
  again = cluster.Keep(cluster.core().Submit(cluster.now(), {spec}));
  EXPECT_TRUE(Says(again.status(), absl::StatusCode::kAlreadyExists, "differs in: data, min_data")) << again.status();
  // An ended job keeps its key, over a restart too.
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {job})).ok());
  cluster.RestartCoordinator();
  spec = *cluster.Job(job).spec;
  again = cluster.Keep(cluster.core().Submit(cluster.now(), {spec}));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->job, job);
  EXPECT_EQ(cluster.core().tables().jobs().size(), 1u);
}

TEST(Queue, ARefusedSubmissionLeavesNothing) {
  Options options;
  options.max_jobs = 1;
  ScriptedCluster cluster(options);
  auto reply = cluster.Keep(cluster.core().Submit(cluster.now(), {Spec("bad name")}));
  EXPECT_TRUE(Says(reply.status(), absl::StatusCode::kInvalidArgument, "name:"));
  cluster.Submit(Spec("one"));
  reply = cluster.Keep(cluster.core().Submit(cluster.now(), {Spec("two")}));
  EXPECT_TRUE(Says(reply.status(), absl::StatusCode::kResourceExhausted, "1 jobs have not ended"));
  EXPECT_EQ(cluster.core().tables().jobs().size(), 1u);
}

TEST(Queue, TheDeadlineOfTheQueueCountsFromSubmissionWhateverTheJobWaitsFor) {
  ScriptedCluster cluster;
  contract::JobSpec spec = Spec("hurry", 2, 1, 2);
  spec.deadlines.queue = 10;
  cluster.Join("a", 1);
  cluster.Run(Spec("other"));
  const std::string job = cluster.Submit(spec);
  cluster.Live(6'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);
  cluster.Join("b", 1);
  EXPECT_EQ(cluster.State(job), JobState::kQueued);
  cluster.Live(3'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kQueued);
  cluster.Live(2'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
}

TEST(Queue, AJobThatMayNotWaitFails) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Run(Spec("first"));
  contract::JobSpec spec = Spec("hurry");
  spec.deadlines.queue = 10;
  const std::string job = cluster.Submit(spec);
  cluster.Live(10'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kQueued);
  cluster.Live(1'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
  EXPECT_NE(cluster.Job(job).reason.find("not placed within 10 s"), std::string::npos);
}

TEST(Queue, UnknownJobsAndEndedOnesAreRefused) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("done"));
  cluster.Rank(job, 0).state = RankState::kFinished;
  cluster.BeatAll();
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Cancel(cluster.now(), {job})).status(),
                   absl::StatusCode::kFailedPrecondition, "has ended: done"));
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().DrainJob(cluster.now(), {"nobody-9"})).status(),
                   absl::StatusCode::kNotFound, "job nobody-9 is not known"));
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Cancel(cluster.now(), {"a b"})).status(),
                   absl::StatusCode::kInvalidArgument, "job: \"a b\" is no name"));
}

}  // namespace
}  // namespace filigree::coordinator
