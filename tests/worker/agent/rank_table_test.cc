#include "worker/agent/rank_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/agent/table_rig.h"

namespace filigree::agent {
namespace {

using testing::Test;

TEST(Assigned, RanksGetAProcessEach) {
  TableRig rig;
  v1::Assignment told = TableRig::Run(3, {1, 2}, 4);
  told.mutable_resume()->set_generation(2);
  told.mutable_resume()->set_step(70);
  told.set_rollback(true);
  const Orders orders = rig.Follow({told});
  ASSERT_EQ(orders.start.size(), 2u);
  EXPECT_EQ(orders.start[0].ranks, std::vector<int32_t>{1});
  EXPECT_EQ(orders.start[1].ranks, std::vector<int32_t>{2});
  EXPECT_EQ(orders.start[0].spec->config, "[run]\n");
  EXPECT_EQ(orders.start[0].data, 4);
  EXPECT_EQ(rig.State(1), v1::RANK_STATE_STARTING);
  const auto taken = rig.Take(orders.start[1].process, 0);
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->part().job(), "night-1");
  EXPECT_EQ(taken->part().generation(), 3);
  EXPECT_EQ(taken->part().rank(), 2);
  EXPECT_EQ(taken->part().data(), 4);
  EXPECT_TRUE(taken->part().rollback());
  EXPECT_EQ(taken->part().resume().step(), 70);
  EXPECT_EQ(rig.Take(orders.start[1].process, 0)->part().rank(), 2);  // the answer was lost
}

TEST(Assigned, AGenerationIsStartedOnce) {
  TableRig rig;
  EXPECT_EQ(rig.Follow({TableRig::Run(1, {0}, 1)}).start.size(), 1u);
  EXPECT_TRUE(rig.Follow({TableRig::Run(1, {0}, 1)}).start.empty());
  EXPECT_EQ(rig.Follow({}).kill, std::vector<std::string>{"p1"});
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  EXPECT_TRUE(rig.Follow({TableRig::Run(1, {0}, 1)}).start.empty());  // it was here, and is over
  EXPECT_EQ(rig.Follow({TableRig::Run(2, {0}, 1)}).start.size(), 1u);
}

TEST(Assigned, WhatIsEndedBeforeItWasHeardOfIsNeverStarted) {
  TableRig rig;
  EXPECT_TRUE(rig.Follow({TableRig::End(4, v1::ACTION_STOP)}).start.empty());
  EXPECT_TRUE(rig.table.Reports().empty());
  EXPECT_TRUE(rig.Follow({TableRig::Run(4, {0}, 1)}).start.empty());
}

TEST(Assigned, TwoGenerationsAreNeverHereAtOnce) {
  TableRig rig;
  rig.Started(TableRig::Run(1, {0}, 1));
  Orders orders = rig.Follow({TableRig::Run(2, {0}, 1)});
  EXPECT_EQ(orders.kill, std::vector<std::string>{"p1"});
  EXPECT_TRUE(orders.start.empty());
  EXPECT_EQ(rig.Report(0).generation(), 2);
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STARTING);
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  orders = rig.table.TakeOrders();
  ASSERT_EQ(orders.start.size(), 1u);
  EXPECT_EQ(orders.start[0].generation, 2);
}

TEST(Assigned, NonsenseIsNotFollowed) {
  TableRig rig;
  v1::Assignment twice = TableRig::Run(1, {0, 0}, 2), outside = TableRig::Run(1, {2}, 2);
  v1::Assignment path = TableRig::Run(1, {0}, 1), grid = TableRig::Run(1, {0}, 1);
  path.set_job("../x");
  grid.set_data(1 << 30);
  for (const v1::Assignment& bad : {twice, outside, path, grid}) {
    const Orders orders = rig.Follow({bad});
    EXPECT_TRUE(orders.start.empty());
    EXPECT_EQ(orders.say.size(), 1u);
  }
}

TEST(Backends, WhatCannotBeStartedHereIsRefused) {
  TableRig rig;
  rig.Follow({TableRig::Run(1, {0, 1}, 2, false, v1::BACKEND_LOCAL)});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("--backend gloo"), std::string::npos);
  rig.Follow({TableRig::Run(3, {0}, 2, false, v1::BACKEND_MPI)});
  EXPECT_NE(rig.Report(0).reason().find("only 1 of 2 ranks"), std::string::npos);
  rig.Follow({TableRig::Run(4, {0}, 1, false, v1::BACKEND_NCCL)});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
}

// One mpirun, which is called p1, and its three ranks.
class Launched : public Test {
 protected:
  Launched() {
    const Orders orders = rig.Follow({TableRig::Run(1, {0, 1, 2}, 3, false, v1::BACKEND_MPI)});
    EXPECT_EQ(orders.start.size(), 1u);
    EXPECT_EQ(orders.start.front().process, "p1");
    EXPECT_EQ(orders.start.front().ranks, (std::vector<int32_t>{0, 1, 2}));
    EXPECT_EQ(rig.table.RanksOf("p1").size(), 3u);
  }
  void AllRun() {
    for (const char* name : {"p1.0", "p1.1", "p1.2"}) {
      rig.Take(name, 0);
      EXPECT_TRUE(rig.Tell(name, 1).ok()) << name;
    }
  }
  // All that have been given since the last call are to end the launcher, once.
  void ExpectKilledOnce() { EXPECT_EQ(rig.table.TakeOrders().kill, std::vector<std::string>{"p1"}); }
  void ExpectStates(v1::RankState first, v1::RankState second, v1::RankState third) {
    EXPECT_EQ(rig.State(0), first);
    EXPECT_EQ(rig.State(1), second);
    EXPECT_EQ(rig.State(2), third);
  }
  bool Says(int rank, const std::string& what) { return rig.Report(rank).reason().find(what) != std::string::npos; }

  TableRig rig;
  const v1::RankState stopped = v1::RANK_STATE_STOPPED, failed = v1::RANK_STATE_FAILED;
};

TEST_F(Launched, RanksRunWhenTheySaySoAndFinishWithTheLauncher) {
  EXPECT_TRUE(absl::IsNotFound(rig.TakeStatus("p1", 0)));    // the launcher itself has no part
  EXPECT_TRUE(absl::IsNotFound(rig.TakeStatus("p1.3", 0)));  // there is no such rank
  EXPECT_EQ(rig.Take("p1.2", 0)->part().rank(), 2);
  ASSERT_TRUE(rig.Tell("p1.2", 1).ok());
  ExpectStates(v1::RANK_STATE_STARTING, v1::RANK_STATE_STARTING, v1::RANK_STATE_RUNNING);
  EXPECT_EQ(*rig.table.JobOf("p1.2", 1), "night-1");
  EXPECT_TRUE(absl::IsFailedPrecondition(rig.table.JobOf("p1.1", 1).status()));  // it has not heard of its part
  AllRun();
  rig.table.HasEnded(rig.now_us, "p1", {.code = 0});
  ExpectStates(v1::RANK_STATE_FINISHED, v1::RANK_STATE_FINISHED, v1::RANK_STATE_FINISHED);
  EXPECT_TRUE(rig.table.empty());
}

TEST_F(Launched, ACheckpointIsAskedOfEveryRank) {
  AllRun();
  const Orders orders = rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP, false)});
  EXPECT_TRUE(orders.kill.empty());
  for (const char* name : {"p1.0", "p1.1", "p1.2"}) {
    EXPECT_EQ(rig.Tell(name, 1)->directive(), v1::DIRECTIVE_CHECKPOINT);
    EXPECT_FALSE(rig.Tell(name, 1)->keep());
  }
  rig.table.HasEnded(rig.now_us, "p1", {.code = 75});
  ExpectStates(stopped, stopped, stopped);
}

TEST_F(Launched, ACheckpointOfRanksThatAreNotThereYetEndsThem) {
  rig.Take("p1.0", 0);
  const Orders orders = rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP, false)});
  EXPECT_EQ(orders.kill, std::vector<std::string>{"p1"});
  EXPECT_TRUE(absl::IsNotFound(rig.TakeStatus("p1.1", 0)));
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  ExpectStates(stopped, stopped, stopped);
}

TEST_F(Launched, AGenerationThatIsOverIsKilledAndTheNextWaitsForItsEnd) {
  AllRun();
  EXPECT_EQ(rig.Follow({TableRig::End(1, v1::ACTION_STOP, false)}).kill, std::vector<std::string>{"p1"});
  const v1::Assignment next = TableRig::Run(2, {0, 1}, 2, false, v1::BACKEND_MPI);
  EXPECT_TRUE(rig.Follow({next}).start.empty());
  EXPECT_TRUE(rig.table.HasProcessOf("night-1"));
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  const Orders orders = rig.table.TakeOrders();
  ASSERT_EQ(orders.start.size(), 1u);
  EXPECT_EQ(orders.start[0].process, "p2");
  EXPECT_FALSE(rig.table.IsWanted("p1"));
  EXPECT_TRUE(rig.table.IsWanted("p2"));
  EXPECT_EQ(rig.Take("p2.1", 0)->part().generation(), 2);
}

TEST_F(Launched, TheRankThatSaysWhyItFailsIsTheOneThatFailed) {
  AllRun();
  ASSERT_TRUE(rig.Tell("p1.1", 1, v1::RANK_STATE_FAILED, "the disk is full").ok());
  rig.table.HasEnded(rig.now_us, "p1", {.code = 3, .tail = "Process name: [[7,1],2]\n  Exit code:    3"});
  ExpectStates(stopped, failed, stopped);
  EXPECT_TRUE(Says(1, "host host: the disk is full (exit code 3 (files that cannot be used))"))
      << rig.Report(1).reason();
}

TEST_F(Launched, WhoDiesWithoutAWordIsNamedByTheLauncher) {
  AllRun();
  rig.table.HasEnded(rig.now_us, "p1",
                     {.code = 137,
                      .tail = "step 7\nmpirun noticed that process rank 2 with PID 0 on node x exited on signal 9 "
                              "(Killed)."});
  ExpectStates(stopped, stopped, failed);
  EXPECT_TRUE(Says(2, "killed by signal 9 (SIGKILL)") && Says(2, "step 7")) << rig.Report(2).reason();
}

TEST_F(Launched, WhereNothingIsSaidOfARankTheLaunchersExitCodeIsTheReason) {
  AllRun();
  rig.table.HasEnded(rig.now_us, "p1", {.code = 205, .tail = "ranks print what they like"});
  ExpectStates(failed, failed, failed);
  EXPECT_TRUE(Says(0, "mpirun ended, and does not say because of which rank: exit code 205")) << rig.Report(0).reason();
}

TEST_F(Launched, ARankThatFallsSilentEndsAllAndIsNamed) {
  AllRun();
  for (int i = 0; i < 60; ++i) {
    rig.Pass(kSecond / 10);
    if (i < 50) {
      ASSERT_TRUE(rig.Tell("p1.0", 1).ok());
      ASSERT_TRUE(rig.Tell("p1.2", 1).ok());
    }
  }
  ExpectKilledOnce();
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  ExpectStates(stopped, failed, stopped);
  EXPECT_TRUE(Says(1, "has told nothing for 5 s")) << rig.Report(1).reason();
}

TEST_F(Launched, AMissedPeerIsReportedWhereNobodyKnowsMore) {
  AllRun();
  EXPECT_FALSE(rig.Take("p1.0", 1, "rank 1 does not answer").has_value());
  rig.Pass(2 * kSecond);
  EXPECT_TRUE(rig.table.TakeOrders().kill.empty());
  for (const char* name : {"p1.1", "p1.2"}) ASSERT_TRUE(rig.Tell(name, 1).ok());
  rig.Pass(2 * kSecond);
  ExpectKilledOnce();
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  ExpectStates(failed, stopped, stopped);
  EXPECT_TRUE(Says(0, "missed a peer: rank 1 does not answer")) << rig.Report(0).reason();
}

TEST_F(Launched, WhoMissedAPeerIsNoFaultWhereTheLauncherNamesThatPeer) {
  AllRun();
  EXPECT_FALSE(rig.Take("p1.0", 1, "rank 1 does not answer").has_value());
  rig.table.HasEnded(rig.now_us, "p1", {.code = 137, .tail = "process rank 1 with PID 0 on node x exited on signal 9"});
  ExpectStates(failed, stopped, stopped);  // that was no word of mpirun's
  TableRig again;
  again.Follow({TableRig::Run(1, {0, 1}, 2, false, v1::BACKEND_MPI)});
  for (const char* name : {"p1.0", "p1.1"}) again.Take(name, 0);
  EXPECT_FALSE(again.Take("p1.0", 1, "rank 1 does not answer").has_value());
  again.table.HasEnded(again.now_us, "p1",
                       {.code = 137, .tail = "noticed that process rank 1 with PID 0 on node x exited on signal 9"});
  EXPECT_EQ(again.State(0), stopped);
  EXPECT_EQ(again.State(1), failed);
}

TEST_F(Launched, WhoMissedAPeerIsNotOutOfTheWayForTheNextGeneration) {
  AllRun();
  for (const char* name : {"p1.0", "p1.1", "p1.2"}) EXPECT_FALSE(rig.Take(name, 1, "somebody").has_value());
  const Orders orders = rig.Follow({TableRig::Run(2, {0, 1, 2}, 3, false, v1::BACKEND_MPI)});
  EXPECT_EQ(orders.kill, std::vector<std::string>{"p1"});
  EXPECT_TRUE(orders.start.empty());
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  EXPECT_EQ(rig.table.TakeOrders().start.size(), 1u);
}

TEST_F(Launched, APeerThatIsMissedOnTheWayToACheckpointIsAFault) {
  AllRun();
  rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP, false)});
  EXPECT_FALSE(rig.Take("p1.0", 1, "rank 1 does not answer").has_value());
  rig.Pass(4 * kSecond);
  ExpectKilledOnce();
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  ExpectStates(failed, stopped, stopped);
}

TEST_F(Launched, ALauncherThatCannotBeStartedFailsItsRanks) {
  rig.table.CouldNotStart(rig.now_us, "p1", "there is no mpirun");
  ExpectStates(failed, failed, failed);
  EXPECT_TRUE(Says(2, "there is no mpirun"));
  EXPECT_TRUE(rig.table.empty());
}

TEST(Kept, SurvivorsBecomeTheNextGeneration) {
  TableRig rig;
  const std::vector<std::string> names = rig.Started(TableRig::Run(1, {0, 1, 2}, 3));
  rig.table.HasEnded(rig.now_us, names[1], {.signal = 9});
  EXPECT_EQ(rig.State(1), v1::RANK_STATE_FAILED);
  EXPECT_FALSE(rig.Take(names[0], 1, "rank 1 does not answer").has_value());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_RUNNING);  // the one that is dead is told first
  EXPECT_TRUE(rig.Follow({TableRig::End(1, v1::ACTION_STOP)}).kill.empty());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STOPPED);
  EXPECT_EQ(rig.Tell(names[2], 1)->directive(), v1::DIRECTIVE_LEAVE);
  EXPECT_TRUE(rig.Tell(names[2], 1)->keep());
  EXPECT_EQ(rig.State(2), v1::RANK_STATE_RUNNING);
  EXPECT_FALSE(rig.Take(names[2], 1).has_value());
  EXPECT_EQ(rig.State(2), v1::RANK_STATE_STOPPED);
  const Orders orders = rig.Follow({TableRig::Run(2, {0, 1}, 2)});
  EXPECT_TRUE(orders.start.empty() && orders.kill.empty());
  EXPECT_EQ(rig.Take(names[0], 1)->part().rank(), 0);
  EXPECT_EQ(rig.Take(names[2], 1)->part().rank(), 1);
  EXPECT_EQ(rig.Take(names[2], 1)->part().generation(), 2);
}

TEST(Kept, WhoIsMissingIsStartedAndWhoIsLeftOverEnds) {
  TableRig rig;
  std::vector<std::string> names = rig.Started(TableRig::Run(1, {0, 1}, 2));
  const auto regroup = [&](int64_t generation, const std::vector<int32_t>& ranks) {
    rig.Follow({TableRig::End(generation - 1, v1::ACTION_CHECKPOINT_AND_STOP)});
    for (const std::string& name : names) EXPECT_FALSE(rig.Take(name, generation - 1).has_value());
    return rig.Follow({TableRig::Run(generation, ranks, 4)});
  };
  const Orders grown = regroup(2, {0, 1, 2});
  ASSERT_EQ(grown.start.size(), 1u);
  EXPECT_EQ(grown.start[0].ranks, std::vector<int32_t>{2});
  names.push_back(grown.start[0].process);
  for (const std::string& name : names) EXPECT_TRUE(rig.Take(name, name == names[2] ? 0 : 1).has_value());
  const Orders shrunk = regroup(3, {1});
  EXPECT_TRUE(shrunk.start.empty());
  EXPECT_EQ(rig.Take(names[1], 2)->part().rank(), 1);  // as before
  EXPECT_TRUE(rig.Take(names[0], 2)->over());
  EXPECT_TRUE(rig.Take(names[2], 2)->over());
  rig.Pass(6 * kSecond);
  EXPECT_EQ(rig.table.TakeOrders().kill, (std::vector<std::string>{names[0], names[2]}));  // they did not end
}

TEST(Kept, AProcessThatHasNotBegunIsKeptToo) {
  TableRig rig;
  const std::string name = rig.Follow({TableRig::Run(1, {0}, 2)}).start[0].process;
  EXPECT_TRUE(rig.Follow({TableRig::End(1, v1::ACTION_STOP)}).kill.empty());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STOPPED);
  EXPECT_FALSE(rig.Take(name, 0).has_value());
  rig.Follow({TableRig::Run(2, {0}, 1)});
  EXPECT_EQ(rig.Take(name, 0)->part().generation(), 2);
}

TEST(Kept, NobodyWaitsForAJobThatDoesNotComeBack) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.Follow({TableRig::End(1, v1::ACTION_STOP)});
  EXPECT_FALSE(rig.Take(name, 1).has_value());
  for (int i = 0; i < 30; ++i) {  // other workers are still ending theirs
    rig.Pass(kSecond);
    rig.Follow({TableRig::End(1, v1::ACTION_STOP)});
  }
  EXPECT_FALSE(rig.Take(name, 1).has_value());
  rig.Follow({});
  rig.Pass(9 * kSecond);
  EXPECT_FALSE(rig.Take(name, 1).has_value());
  rig.Pass(2 * kSecond);
  EXPECT_TRUE(rig.Take(name, 1)->over());
}

TEST(Kept, NobodyWaitsWhereTheJobEnds) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP, false)});
  const auto told = rig.Tell(name, 1);
  EXPECT_EQ(told->directive(), v1::DIRECTIVE_CHECKPOINT);
  EXPECT_FALSE(told->keep());
  EXPECT_TRUE(rig.Take(name, 1)->over());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STOPPED);
}

TEST(Stopped, WhoIsNotKeptIsKilledAtOnce) {
  TableRig rig;
  rig.Started(TableRig::Run(1, {0}, 1));
  EXPECT_EQ(rig.Follow({TableRig::End(1, v1::ACTION_STOP, false)}).kill, std::vector<std::string>{"p1"});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_RUNNING);  // until it is gone
  EXPECT_TRUE(absl::IsNotFound(rig.Tell("p1", 1).status()));
  rig.table.HasEnded(rig.now_us, "p1", {.signal = 9});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STOPPED);
}

TEST(Stopped, WhoDoesNotLeaveInTimeIsKilled) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.Follow({TableRig::End(1, v1::ACTION_STOP)});
  for (int i = 0; i < 9; ++i) {
    rig.Pass(kSecond / 2);
    EXPECT_TRUE(rig.Tell(name, 1).ok());
  }
  EXPECT_TRUE(rig.table.TakeOrders().kill.empty());
  rig.Pass(kSecond);
  EXPECT_EQ(rig.table.TakeOrders().kill, std::vector<std::string>{name});
  rig.table.HasEnded(rig.now_us, name, {.signal = 9});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STOPPED);  // it was asked to
}

TEST(Stopped, ACheckpointCanBecomeAStopAndNotBack) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP)});
  EXPECT_EQ(rig.Tell(name, 1)->directive(), v1::DIRECTIVE_CHECKPOINT);
  rig.Follow({TableRig::End(1, v1::ACTION_STOP)});
  rig.Follow({TableRig::End(1, v1::ACTION_CHECKPOINT_AND_STOP)});
  EXPECT_EQ(rig.Tell(name, 1)->directive(), v1::DIRECTIVE_LEAVE);
}

// How a rank that ran is reported, after its process ended like that.
v1::RankReport After(const Ending& ending) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.table.HasEnded(rig.now_us, name, ending);
  EXPECT_TRUE(rig.table.TakeOrders().heartbeat);
  EXPECT_TRUE(rig.table.empty());
  return rig.Report(0);
}

TEST(Ended, ExitCodesSayHow) {
  EXPECT_EQ(After({.code = 0}).state(), v1::RANK_STATE_FINISHED);
  EXPECT_EQ(After({.code = 75}).state(), v1::RANK_STATE_STOPPED);
  const auto expect_failed = [](const Ending& ending, const std::string& reason) {
    const v1::RankReport report = After(ending);
    EXPECT_EQ(report.state(), v1::RANK_STATE_FAILED);
    EXPECT_EQ(report.reason().substr(0, 11), "host host: ");
    EXPECT_NE(report.reason().find(reason), std::string::npos) << report.reason();
  };
  expect_failed({.code = 1, .tail = "disk\nfull"}, "exit code 1; printed last:\ndisk\nfull");
  expect_failed({.code = 2}, "exit code 2 (bad configuration)");
  expect_failed({.code = 3}, "exit code 3 (files that cannot be used)");
  expect_failed({.code = 6}, "exit code 6 (out of memory)");
  expect_failed({.code = 7}, "exit code 7");
  expect_failed({.code = 137}, "exit code 137 (a process was killed by signal 9, SIGKILL)");
  expect_failed({.signal = 11}, "signal 11 (SIGSEGV)");
  expect_failed({.signal = 9}, "signal 9 (SIGKILL), not by this worker");
  expect_failed({.signal = 9, .out_of_memory = true}, "out of memory");
}

TEST(Ended, WhatItToldIsTheReasonAndComesWhenItIsGone) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  EXPECT_TRUE(rig.Tell(name, 1, v1::RANK_STATE_FAILED, "no such corpus").ok());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_RUNNING);
  rig.Pass(3 * kSecond);
  EXPECT_EQ(rig.table.TakeOrders().kill, std::vector<std::string>{name});  // it did not end by itself
  rig.table.HasEnded(rig.now_us, name, {.signal = 9});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("no such corpus"), std::string::npos);
}

TEST(Ended, WhoIsToldThatItIsOverSinceItMissedAPeerHasFailed) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1, false, v1::BACKEND_LOCAL))[0];
  EXPECT_TRUE(rig.Take(name, 1, "the step does not end")->over());
  rig.table.HasEnded(rig.now_us, name, {.code = 75});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("the step does not end"), std::string::npos);
}

TEST(Ended, ReasonsAreCleanAndShort) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  EXPECT_TRUE(rig.Tell(name, 1, v1::RANK_STATE_FAILED, std::string(9000, '\x1b')).ok());
  rig.table.HasEnded(rig.now_us, name, {.code = 1, .tail = std::string(5000, '\xff') + "last"});
  const std::string reason = rig.Report(0).reason();
  EXPECT_LE(reason.size(), 8192u);
  EXPECT_EQ(reason.find('\x1b'), std::string::npos);
  EXPECT_EQ(reason.substr(reason.size() - 4), "last");
}

TEST(Ended, AFailureToStartIsTold) {
  TableRig rig;
  const std::string name = rig.Follow({TableRig::Run(1, {0}, 1)}).start[0].process;
  rig.table.CouldNotStart(rig.now_us, name, "cannot start /no/program");
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("/no/program"), std::string::npos);
}

TEST(Silence, WhoTellsNothingAnyMoreHasFailed) {
  TableRig rig;
  const std::vector<std::string> names = rig.Started(TableRig::Run(1, {0, 1}, 2));
  for (int i = 0; i < 20; ++i) {
    rig.Pass(300'000);
    EXPECT_TRUE(rig.Tell(names[1], 1).ok());
  }
  EXPECT_EQ(rig.table.TakeOrders().kill, std::vector<std::string>{names[0]});
  rig.table.HasEnded(rig.now_us, names[0], {.signal = 9});
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("told nothing for 5 s"), std::string::npos);
  EXPECT_EQ(rig.State(1), v1::RANK_STATE_RUNNING);
}

TEST(Silence, DoesNotCountWhileTheAgentItselfStoodStill) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.Pass(kSecond);
  rig.now_us += 60 * kSecond;
  rig.Pass(kSecond);
  EXPECT_TRUE(rig.table.TakeOrders().kill.empty());
  rig.Pass(5 * kSecond);
  EXPECT_EQ(rig.table.TakeOrders().kill.size(), 1u);
}

TEST(Silence, CountsFromTheFirstWord) {
  TableRig rig;
  rig.Follow({TableRig::Run(1, {0}, 1)});
  rig.Pass(59 * kSecond);  // the coordinator has a deadline for the start
  EXPECT_TRUE(rig.table.TakeOrders().kill.empty());
}

TEST(Lost, AMissedPeerThatNobodyElseReportsIsAFault) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 2))[0];
  EXPECT_FALSE(rig.Take(name, 1, "rank 1 on host b").has_value());
  rig.Pass(2 * kSecond);
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_RUNNING);
  rig.Pass(2 * kSecond);
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
  EXPECT_NE(rig.Report(0).reason().find("rank 1 on host b"), std::string::npos);
  EXPECT_TRUE(rig.table.TakeOrders().heartbeat);
  rig.Follow({TableRig::End(1, v1::ACTION_STOP)});
  rig.Follow({TableRig::Run(2, {0}, 1)});
  EXPECT_EQ(rig.Take(name, 1)->part().generation(), 2);  // alive all the time
}

TEST(Lost, WhoLeavesWithoutAReasonHasFailed) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 2))[0];
  EXPECT_FALSE(rig.Take(name, 1).has_value());
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_FAILED);
}

TEST(Speaking, OnlyForOnesOwnGeneration) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(2, {0}, 1))[0];
  EXPECT_EQ(*rig.table.JobOf(name, 2), "night-1");
  EXPECT_TRUE(absl::IsFailedPrecondition(rig.table.JobOf(name, 1).status()));
  EXPECT_TRUE(absl::IsNotFound(rig.table.JobOf("p9", 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(rig.table.JobOf("a/b", 2).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(rig.Tell(name, 1).status()));
  EXPECT_TRUE(absl::IsNotFound(rig.Tell("p9", 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(rig.TakeStatus(name, 1)));
  EXPECT_TRUE(absl::IsInvalidArgument(rig.TakeStatus(name, 3)));
  rig.Take(name, 2, "rank 1");
  EXPECT_TRUE(absl::IsFailedPrecondition(rig.table.JobOf(name, 2).status()));  // it has left
  EXPECT_TRUE(absl::IsFailedPrecondition(rig.Tell(name, 2).status()));
}

TEST(Speaking, WhatARankTellsIsReported) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  v1::TellRequest tell;
  tell.set_process(name);
  tell.set_generation(1);
  tell.set_state(v1::RANK_STATE_RUNNING);
  tell.mutable_progress()->set_step(17);
  tell.mutable_progress()->mutable_seconds()->set_forward(0.5);
  tell.set_mask_epoch(4);
  v1::Digest& digest = *tell.add_mask_digests();
  digest.set_name("masks");
  digest.set_digest("0123456789abcdef");
  tell.set_metrics_address("10.0.0.1:9000");
  tell.mutable_figures()->set_target_steps(100);
  ASSERT_TRUE(rig.table.Tell(rig.now_us, tell).ok());
  const v1::RankReport report = rig.Report(0);
  EXPECT_EQ(report.progress().step(), 17);
  EXPECT_EQ(report.progress().seconds().forward(), 0.5);
  EXPECT_EQ(report.mask_epoch(), 4);
  EXPECT_EQ(report.mask_digests(0).name(), "masks");
  EXPECT_EQ(report.metrics_address(), "10.0.0.1:9000");
  EXPECT_EQ(report.figures().target_steps(), 100);
}

TEST(GivenUp, EverythingIsKilledAndNothingIsReported) {
  TableRig rig;
  rig.Started(TableRig::Run(1, {0, 1}, 2));
  rig.table.GiveUp(rig.now_us, "the lease is over");
  EXPECT_EQ(rig.table.TakeOrders().kill, (std::vector<std::string>{"p1", "p2"}));
  EXPECT_TRUE(rig.table.Reports().empty());
  EXPECT_TRUE(absl::IsNotFound(rig.TakeStatus("p1", 1)));
  EXPECT_FALSE(rig.table.empty());
  for (const char* name : {"p1", "p2"}) rig.table.HasEnded(rig.now_us, name, {.signal = 9});
  EXPECT_TRUE(rig.table.empty());
}

// Its numbers are lower: they would count as generations that were here before.
TEST(GivenUp, ACoordinatorWithAnotherJournalIsFollowed) {
  TableRig rig;
  const std::string before = rig.Started(TableRig::Run(5, {0}, 1))[0];
  rig.table.GiveUp(rig.now_us, "it does not know this worker");
  rig.table.HasEnded(rig.now_us, before, {.signal = 9});
  rig.table.Forget();
  EXPECT_EQ(rig.Follow({TableRig::Run(1, {0}, 1)}).start.size(), 1u);
  EXPECT_EQ(rig.State(0), v1::RANK_STATE_STARTING);
}

TEST(Drained, RanksMakeACheckpointAndNothingIsStarted) {
  TableRig rig;
  const std::string name = rig.Started(TableRig::Run(1, {0}, 1))[0];
  rig.table.Drain(rig.now_us);
  EXPECT_EQ(rig.Tell(name, 1)->directive(), v1::DIRECTIVE_CHECKPOINT);
  EXPECT_FALSE(rig.Tell(name, 1)->keep());
  v1::Assignment other = TableRig::Run(1, {0}, 1);
  other.set_job("day-2");
  EXPECT_TRUE(rig.Follow({TableRig::Run(1, {0}, 1), other}).start.empty());
  rig.table.HasEnded(rig.now_us, name, {.code = 75});
  EXPECT_TRUE(rig.table.empty());
}

}  // namespace
}  // namespace filigree::agent
