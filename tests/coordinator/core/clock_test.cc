#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

// Every rule follows the monotonic clock; the wall clock is only written down.

namespace filigree::coordinator {
namespace {

constexpr int64_t kHour = 3600 * 1000 * kMs;

TEST(Clock, AJumpOfTheWallClockMovesNothing) {
  for (const int64_t jump : {kHour, -kHour}) {
    ScriptedCluster cluster;
    cluster.Join("a", 1);
    contract::JobSpec hurried = Spec("hurried", 2, 1, 2);
    hurried.deadlines.queue = 100;
    const std::string job = cluster.Run(Spec("job")), waiting = cluster.Submit(hurried);
    Now later = cluster.now();
    later.wall_us += jump;
    ASSERT_TRUE(cluster.Keep(cluster.core().Tick(later)).ok());
    EXPECT_EQ(cluster.core().tables().FindWorker("a")->presence, Presence::kLive);
    EXPECT_EQ(cluster.State(job), JobState::kRunning);
    EXPECT_EQ(cluster.State(waiting), JobState::kSubmitted);
  }
}

TEST(Clock, WallTimeIsWhatIsWrittenDown) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const int64_t start_us = cluster.now().wall_us;
  const std::string job = cluster.Run(Spec("job"));
  EXPECT_EQ(cluster.Job(job).submitted_us, start_us);
  EXPECT_EQ(cluster.Job(job).started_us, start_us);
  EXPECT_EQ(cluster.Job(job).ended_us, 0);
  cluster.Pass(1'000 * kMs);
  cluster.Rank(job, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.Job(job).ended_us, start_us + 1'000 * kMs);
  EXPECT_EQ(cluster.events.back().wall_us, start_us + 1'000 * kMs);
}

TEST(Clock, AMonotonicClockThatGoesBackStandsStill) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const int64_t lease_us = cluster.core().options().lease_us;
  cluster.Pass(lease_us - 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  Now back = cluster.now();
  back.monotonic_us -= kHour;
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(back)).ok());
  // A heartbeat then buys a whole lease from the latest time there was.
  HeartbeatRequest request;
  request.speaker = cluster.SpeakerOf("a");
  request.epoch = 1;
  request.sequence = 100;
  ASSERT_TRUE(cluster.Keep(cluster.core().Heartbeat(back, request)).ok());
  cluster.Pass(lease_us - 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  EXPECT_EQ(cluster.core().tables().FindWorker("a")->presence, Presence::kLive);
  cluster.Pass(1);
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  EXPECT_EQ(cluster.core().tables().FindWorker("a")->presence, Presence::kLost);
}

TEST(Clock, ANewProcessMayHaveAClockThatBeginsAnywhere) {
  for (const int64_t begin : {int64_t{0}, int64_t{1} << 50}) {
    ScriptedCluster cluster;
    cluster.Join("a", 1);
    const std::string job = cluster.Run(Spec("job"));
    const Tables tables = cluster.core().tables();
    const Now now{begin, 0};
    Core core(Options(), tables, now);
    const auto start = core.Start(now);
    core.Accept(start.outcome);
    const auto soon = core.Tick({begin + Options().lease_us - 1, 0});
    EXPECT_TRUE(soon.outcome.rows.empty());
    core.Accept(soon.outcome);
    const auto late = core.Tick({begin + Options().lease_us, 0});
    ASSERT_EQ(late.outcome.rows.workers.size(), 1u);
    EXPECT_EQ(late.outcome.rows.workers[0].presence, Presence::kLost);
    core.Accept(late.outcome);
    EXPECT_EQ(core.tables().FindJob(job)->state, JobState::kRecovering);
  }
}

// Deadlines count from when this process saw the job in its state, so that a coordinator that was away is no reason to
// give a job up.
TEST(Clock, DeadlinesBeginAnewWithAnotherProcess) {
  ScriptedCluster cluster;
  contract::JobSpec spec = Spec("job");
  spec.deadlines.queue = 10;
  const std::string job = cluster.Submit(spec);
  cluster.Live(9'000 * kMs);
  cluster.RestartCoordinator();
  cluster.Live(9'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);
  cluster.Live(2'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kFailed);
}

}  // namespace
}  // namespace filigree::coordinator
