#include "coordinator/core/stragglers.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "coordinator/core/telemetry.h"
#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

constexpr int kForward = static_cast<int>(Phase::kForward), kBackward = static_cast<int>(Phase::kBackward),
              kExchange = static_cast<int>(Phase::kExchange), kCheckpoint = static_cast<int>(Phase::kCheckpoint);

// A rank that told of two moments, `steps` apart, with these seconds a step.
RankTelemetry Told(int64_t steps, const PhaseSeconds& a_step) {
  RankTelemetry rank;
  RankProgress progress;
  progress.step = 5;
  rank.Take(RankState::kRunning, "", progress, steps);
  progress.step += steps;
  for (int p = 0; p < kPhases; ++p) progress.seconds[p] = a_step[p] * static_cast<double>(steps);
  rank.Take(RankState::kRunning, "", progress, steps);
  return rank;
}

PhaseSeconds Work(double forward, double backward, double exchange = 0, double checkpoint = 0) {
  PhaseSeconds seconds = {};
  seconds[kForward] = forward;
  seconds[kBackward] = backward;
  seconds[kExchange] = exchange;
  seconds[kCheckpoint] = checkpoint;
  return seconds;
}

TEST(Stragglers, TheSlowRankIsFoundWithThePhaseThatMakesItSlow) {
  const std::vector<RankTelemetry> ranks = {Told(10, Work(1, 2)), Told(10, Work(1, 6)), Told(10, Work(1, 2))};
  const auto found = FindStragglers(ranks, 10, 2.0);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 1);
  EXPECT_DOUBLE_EQ(found[0].ratio, 7.0 / 3.0);
  EXPECT_EQ(found[0].phase, Phase::kBackward);
  EXPECT_DOUBLE_EQ(found[0].seconds, 6);
  EXPECT_DOUBLE_EQ(found[0].median_seconds, 2);
}

TEST(Stragglers, WaitingAndCheckpointsAreNobodysFault) {
  const std::vector<RankTelemetry> ranks = {Told(10, Work(1, 2, 90)), Told(10, Work(1, 2, 0, 90)),
                                            Told(10, Work(1, 2))};
  EXPECT_TRUE(FindStragglers(ranks, 10, 2.0).empty());
}

TEST(Stragglers, WhatIsLittleOfAStepIsNothingToWaitFor) {
  EXPECT_TRUE(FindStragglers({Told(10, Work(3, 0, 20)), Told(10, Work(1, 0, 22))}, 10, 2.0).empty());
  EXPECT_EQ(FindStragglers({Told(10, Work(3, 0, 16)), Told(10, Work(1, 0, 18))}, 10, 2.0).size(), 1u);
  // A checkpoint among the steps makes nobody faster.
  EXPECT_EQ(FindStragglers({Told(10, Work(3, 0, 16, 50)), Told(10, Work(1, 0, 18, 50))}, 10, 2.0).size(), 1u);
}

TEST(Stragglers, OfTwoRanksOneCanBeSlow) {
  const std::vector<RankTelemetry> ranks = {Told(10, Work(4, 0)), Told(10, Work(2, 0))};
  const auto found = FindStragglers(ranks, 10, 2.0);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 0);
}

TEST(Stragglers, NobodyIsJudgedBeforeAllHaveAWholeWindow) {
  EXPECT_TRUE(FindStragglers({Told(10, Work(9, 0)), Told(9, Work(1, 0))}, 10, 2.0).empty());
  EXPECT_TRUE(FindStragglers({Told(10, Work(9, 0)), RankTelemetry()}, 10, 2.0).empty());
  EXPECT_TRUE(FindStragglers({Told(10, Work(9, 0))}, 10, 2.0).empty());  // alone
  EXPECT_TRUE(FindStragglers({}, 10, 2.0).empty());
  EXPECT_TRUE(FindStragglers({Told(10, Work(0, 0)), Told(10, Work(0, 0))}, 10, 2.0).empty());  // nothing measured
}

class Run : public ::testing::Test {
 protected:
  // `steps` more steps of all ranks, so many seconds of work each, told by heartbeats.
  void Steps(int64_t steps, double rank0, double rank1) {
    for (const auto& [rank, seconds] : {std::pair{0, rank0}, std::pair{1, rank1}}) {
      RankProgress& progress = cluster.Rank(job, rank).progress;
      progress.step += steps;
      progress.seconds[kForward] += seconds * static_cast<double>(steps);
    }
    cluster.Live(1'500 * kMs);
  }
  int Count(EventKind kind) const {
    int count = 0;
    for (const Event& event : cluster.events) count += event.kind == kind ? 1 : 0;
    return count;
  }

  ScriptedCluster cluster;
  std::string job;
};

TEST_F(Run, AStragglerIsReportedOnceAndWhenItHasCaughtUp) {
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  job = cluster.Run(Spec("job", 2));
  Steps(1, 1, 1);
  Steps(10, 1, 1);
  EXPECT_EQ(Count(EventKind::kStraggler), 0);
  Steps(10, 1, 3);
  Steps(10, 1, 3);
  Steps(10, 1, 3);
  ASSERT_EQ(Count(EventKind::kStraggler), 1);
  for (const Event& event : cluster.events) {
    if (event.kind != EventKind::kStraggler) continue;
    EXPECT_EQ(event.rank, 1);
    EXPECT_EQ(event.worker, "b");
    EXPECT_NE(event.text.find("3.00 times as long as the median, mostly in forward"), std::string::npos) << event.text;
  }
  EXPECT_EQ(cluster.State(job), JobState::kRunning);  // told, not punished
  Steps(10, 1, 1);
  Steps(10, 1, 1);
  EXPECT_EQ(Count(EventKind::kStragglerCaughtUp), 1);
  Steps(10, 1, 3);
  Steps(10, 1, 3);
  EXPECT_EQ(Count(EventKind::kStraggler), 2);
}

TEST_F(Run, BetweenTheTwoRatiosARankStaysWhatItIs) {
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  job = cluster.Run(Spec("job", 2));
  Steps(1, 1, 1);
  Steps(10, 1, 1.7);
  EXPECT_EQ(Count(EventKind::kStraggler), 0);
  Steps(10, 1, 1.9);
  EXPECT_EQ(Count(EventKind::kStraggler), 1);
  for (int i = 0; i < 4; ++i) Steps(10, 1, i % 2 == 0 ? 1.6 : 1.9);
  EXPECT_EQ(Count(EventKind::kStraggler), 1);
  EXPECT_EQ(Count(EventKind::kStragglerCaughtUp), 0);
  Steps(10, 1, 1.4);
  EXPECT_EQ(Count(EventKind::kStragglerCaughtUp), 1);
  Steps(10, 1, 1.7);
  EXPECT_EQ(Count(EventKind::kStraggler), 1);
}

TEST(Telemetry, MeansAreOverTheLastWindowAndOldReportsChangeNothing) {
  RankTelemetry rank;
  PhaseSeconds mean = {};
  EXPECT_FALSE(rank.heard());
  EXPECT_FALSE(rank.MeanOver(1, mean));
  RankProgress progress;
  for (int64_t step = 1; step <= 30; ++step) {
    progress.step = step;
    progress.seconds[kForward] += step > 20 ? 5 : 1;
    rank.Take(RankState::kRunning, "", progress, 10);
  }
  ASSERT_TRUE(rank.MeanOver(10, mean));
  EXPECT_DOUBLE_EQ(mean[kForward], 5);
  RankProgress old;
  old.step = 3;
  rank.Take(RankState::kRunning, "", old, 10);
  EXPECT_EQ(rank.last().step, 30);
  ASSERT_TRUE(rank.MeanOver(10, mean));
  EXPECT_DOUBLE_EQ(mean[kForward], 5);
}

TEST(Telemetry, LostHeartbeatsLoseNoSums) {
  RankTelemetry rank;
  RankProgress progress;
  progress.step = 100;
  rank.Take(RankState::kRunning, "", progress, 10);
  progress.step = 190;
  progress.seconds[kForward] = 180;
  rank.Take(RankState::kRunning, "", progress, 10);
  PhaseSeconds mean = {};
  ASSERT_TRUE(rank.MeanOver(10, mean));
  EXPECT_DOUBLE_EQ(mean[kForward], 2);
}

TEST(Telemetry, SumsThatFallAreNoMean) {
  RankTelemetry rank;
  RankProgress progress;
  progress.step = 1;
  progress.seconds[kForward] = 9;
  rank.Take(RankState::kRunning, "", progress, 1);
  progress.step = 2;
  progress.seconds[kForward] = 1;
  rank.Take(RankState::kRunning, "", progress, 1);
  PhaseSeconds mean = {};
  EXPECT_FALSE(rank.MeanOver(1, mean));
}

TEST(Telemetry, ReportsOutOfRangeAreRefusedAndChangeNothing) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  const RankReport good = cluster.Rank(job, 0);
  const auto refused = [&](const std::string& why) {
    const auto reply = cluster.Beat("a");
    EXPECT_TRUE(Says(reply.status(), absl::StatusCode::kInvalidArgument, why)) << reply.status();
    cluster.Rank(job, 0) = good;
  };
  for (const double seconds :
       {-1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    cluster.Rank(job, 0).progress.seconds[kForward] = seconds;
    refused("seconds of phases must be finite");
  }
  cluster.Rank(job, 0).progress.step = -1;
  refused("out of range");
  cluster.Rank(job, 0).progress.step = (int64_t{1} << 53) + 1;
  refused("out of range");
  cluster.Rank(job, 0).rank = -1;
  refused("out of range");
  cluster.Rank(job, 0).generation = 0;
  refused("out of range");
  cluster.Rank(job, 0).job = "a b";
  refused("job of a rank report");
  cluster.Rank(job, 0).reason = std::string(8193, 'x');
  refused("its reason has 8193 bytes");
  EXPECT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
}

TEST(Telemetry, EveryStateAndPhaseHasItsOwnName) {
  std::set<std::string> names;
  for (int p = 0; p < kPhases; ++p) names.insert(Name(static_cast<Phase>(p)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kPhases));
  EXPECT_EQ(std::string(Name(Phase::kTopk)), "topk");
  EXPECT_EQ(std::string(Name(RankState::kFailed)), "failed");
  EXPECT_TRUE(Alive(RankState::kStarting) && Alive(RankState::kRunning));
  EXPECT_FALSE(Alive(RankState::kStopped) || Alive(RankState::kFinished) || Alive(RankState::kFailed));
}

}  // namespace
}  // namespace filigree::coordinator
