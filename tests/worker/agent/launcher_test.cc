#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/worker/agent/agent_rig.h"

// The same where an mpirun stands between the agent and processes that speak as ranks do.

namespace filigree::agent {
namespace {

v1::RankView RankOf(const v1::Job& job, int32_t rank) {
  return job.ranks_size() > rank ? job.ranks(rank) : v1::RankView();
}

class Launchers : public Agents {
 protected:
  std::string SubmitMpi(int32_t restart_limit = 3) { return Submit(2, restart_limit, v1::BACKEND_MPI); }
  bool EventuallyRuns(const std::string& job) {
    return Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; });
  }
};

TEST_F(Launchers, EveryRankSpeaksForItself) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(2);
  const std::string job = SubmitMpi();
  ASSERT_TRUE(EventuallyRuns(job)) << lines();
  // A job runs when both ranks say so, not when mpirun is there.
  EXPECT_EQ(PidsOf(1).size(), 2u);
  EXPECT_TRUE(Eventually([&] {
    const v1::Job now = Get(job);
    return RankOf(now, 0).step() > 5 && RankOf(now, 1).step() > 5;
  })) << Get(job).DebugString();
}

TEST_F(Launchers, AJobRunsToItsEndAndItsCommitCounts) {
  Start(2);
  const v1::Job done = EndOf(SubmitMpi());
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_EQ(done.last_commit().step(), 20);
  EXPECT_EQ(done.restarts(), 0);
  for (const Said& said : Journal()) EXPECT_TRUE(said.what != "no-lease" && said.what != "long-lease") << said.what;
}

TEST_F(Launchers, AKilledRankIsNamedAndAllAreStartedAnew) {
  setenv("FAKE_RANK_DO", "die:1:1:5", 1);
  Start(2);
  const v1::Job done = EndOf(SubmitMpi());
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason() << lines();
  EXPECT_EQ(done.restarts(), 1);
  EXPECT_NE(lines().find("night-1 generation 1 rank 1: failed: host host-a: killed by signal 9 (SIGKILL)"),
            std::string::npos)
      << lines();
  EXPECT_NE(lines().find("night-1 generation 1 rank 0: stopped"), std::string::npos) << lines();
  const std::map<int, int> first = PidsOf(1), second = PidsOf(2);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_NE(second.at(0), first.at(0));
}

TEST_F(Launchers, AFailureIsToldWithItsRankAndReason) {
  setenv("FAKE_RANK_DO", "fail:1:1:3", 1);
  Start(2);
  const v1::Job failed = EndOf(SubmitMpi(/*restart_limit=*/-1));
  EXPECT_EQ(failed.state(), v1::JOB_STATE_FAILED);
  for (const char* part : {"rank 1 on worker a", "the disk is full", "exit code 3", "no space left"})
    EXPECT_NE(failed.reason().find(part), std::string::npos) << failed.reason();
}

TEST_F(Launchers, AStoppedRankIsNamed) {
  setenv("FAKE_RANK_DO", "stop:1:1:5", 1);
  Start(2, std::chrono::seconds(2));
  const v1::Job done = EndOf(SubmitMpi());
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_NE(lines().find("rank 1: failed: host host-a: has told nothing for 2 s"), std::string::npos) << lines();
}

TEST_F(Launchers, ADrainedJobLeavesACheckpoint) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(2);
  const std::string job = SubmitMpi();
  ASSERT_TRUE(EventuallyRuns(job)) << lines();
  v1::DrainRequest drain;
  drain.set_job(job);
  ASSERT_TRUE(Call(rig.users, &Users::Drain, drain).ok());
  const v1::Job drained = EndOf(job);
  EXPECT_EQ(drained.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_GT(drained.last_commit().step(), 0);
  EXPECT_EQ(drained.restarts(), 0);
}

TEST_F(Launchers, ACancelledJobIsGoneAtOnce) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(2);
  const std::string job = SubmitMpi();
  ASSERT_TRUE(EventuallyRuns(job)) << lines();
  v1::CancelRequest cancel;
  cancel.set_job(job);
  ASSERT_TRUE(Call(rig.users, &Users::Cancel, cancel).ok());
  EXPECT_EQ(EndOf(job).state(), v1::JOB_STATE_CANCELLED);
  for (const auto& [rank, pid] : PidsOf(1)) EXPECT_EQ(kill(pid, 0), -1);
}

class LaunchersShortLease : public ShortLease {};

TEST_F(LaunchersShortLease, RanksAreGoneWhenItIsOverAndTheJobGoesOnLater) {
  setenv("FAKE_RANK_STEPS", "400", 1);
  Start(2);
  const std::string job = Submit(2, 3, v1::BACKEND_MPI);
  ASSERT_TRUE(Eventually([&] { return PidsOf(1).size() == 2 && Get(job).state() == v1::JOB_STATE_RUNNING; }))
      << lines();
  const std::map<int, int> first = PidsOf(1);
  rig.Stop();
  EXPECT_TRUE(Eventually([&] { return kill(first.at(0), 0) != 0 && kill(first.at(1), 0) != 0; })) << lines();
  rig.Start();
  const v1::Job done = EndOf(job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason() << lines();
  EXPECT_GT(done.generation(), 1);
}

}  // namespace
}  // namespace filigree::agent
