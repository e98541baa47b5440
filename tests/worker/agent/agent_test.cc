#include "worker/agent/agent.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>

#include "filigree/v1/agent.grpc.pb.h"
#include "tests/coordinator/rpc/rig.h"
#include "tests/worker/agent/agent_rig.h"

namespace filigree::agent {
namespace {

TEST_F(Agents, AJobRunsFromSubmissionToItsEnd) {
  Start(2);
  const std::string job = Submit(2);
  const v1::Job done = EndOf(job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_EQ(done.last_commit().step(), 20);
  EXPECT_EQ(done.restarts(), 0);
  EXPECT_EQ(PidsOf(1).size(), 2u);
  for (const Said& said : Journal()) EXPECT_TRUE(said.what != "no-lease" && said.what != "long-lease") << said.what;
  EXPECT_NE(Text("state/logs/" + job + "/g1-rank1.log").find("finishes"), std::string::npos);
  EXPECT_TRUE(Eventually([&] { return Text("state/configs/" + job + ".toml").empty(); }));  // nobody needs it
  EXPECT_TRUE(Stop().ok());
  EXPECT_EQ(rig.journal.tables().FindWorker("a")->presence, coordinator::Presence::kLeft);
}

TEST_F(Agents, SurvivorsGoOnInTheirProcesses) {
  setenv("FAKE_RANK_DO", "die:1:1:5", 1);
  Start(3);
  const v1::Job done = EndOf(Submit(3));
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason() << lines();
  EXPECT_EQ(done.restarts(), 1);
  const std::map<int, int> first = PidsOf(1), second = PidsOf(2);
  ASSERT_EQ(second.size(), 3u);  // there is room for three
  EXPECT_EQ(second.at(0), first.at(0));
  EXPECT_EQ(second.at(2), first.at(2));
  EXPECT_NE(second.at(1), first.at(1));
  EXPECT_NE(lines().find("night-1 generation 1 rank 1: failed: host host-a: killed by signal 9 (SIGKILL)"),
            std::string::npos)
      << lines();
}

TEST_F(Agents, AFailureIsToldWithItsReasonAndLastLines) {
  setenv("FAKE_RANK_DO", "fail:1:0:0", 1);
  Start(1);
  const v1::Job failed = EndOf(Submit(1, /*restart_limit=*/0));
  EXPECT_EQ(failed.state(), v1::JOB_STATE_FAILED);
  for (const char* part : {"rank 0 on worker a", "host host-a", "the disk is full", "exit code 3", "no space left"})
    EXPECT_NE(failed.reason().find(part), std::string::npos) << failed.reason();
}

TEST_F(Agents, AStoppedProcessIsFoundOut) {
  setenv("FAKE_RANK_DO", "stop:1:0:5", 1);
  Start(1, std::chrono::seconds(2));
  const v1::Job done = EndOf(Submit(1));
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_NE(lines().find("has told nothing for 2 s"), std::string::npos) << lines();
}

TEST_F(Agents, AMissedPeerEndsTheGenerationAndNoProcess) {
  setenv("FAKE_RANK_DO", "lose:1:0:5,lose:1:1:5", 1);
  Start(2);
  const v1::Job done = EndOf(Submit(2));
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_EQ(PidsOf(1), PidsOf(2));
  EXPECT_NE(lines().find("missed a peer: rank 99"), std::string::npos) << lines();
}

TEST_F(Agents, ACancelledJobIsGoneAtOnce) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(2);
  const std::string job = Submit(2);
  ASSERT_TRUE(Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; })) << lines();
  v1::CancelRequest cancel;
  cancel.set_job(job);
  ASSERT_TRUE(Call(rig.users, &Users::Cancel, cancel).ok());
  EXPECT_EQ(EndOf(job).state(), v1::JOB_STATE_CANCELLED);
  for (const auto& [rank, pid] : PidsOf(1)) EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(Agents, ADrainedJobLeavesACheckpoint) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(2);
  const std::string job = Submit(2);
  ASSERT_TRUE(Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; })) << lines();
  v1::DrainRequest drain;
  drain.set_job(job);
  ASSERT_TRUE(Call(rig.users, &Users::Drain, drain).ok());
  const v1::Job drained = EndOf(job);
  EXPECT_EQ(drained.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_GT(drained.last_commit().step(), 0);
}

TEST_F(Agents, TheCoordinatorMayBeStartedAnew) {
  setenv("FAKE_RANK_STEPS", "300", 1);
  setenv("FAKE_RANK_DO", "find:1:0:250,find:1:1:250", 1);  // what ranks left at the one before
  Start(2);
  const std::string job = Submit(2);
  ASSERT_TRUE(Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; })) << lines();
  rig.Restart();
  const v1::Job done = EndOf(job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason();
  EXPECT_EQ(done.generation(), 1);
  EXPECT_EQ(done.restarts(), 0);
}

TEST_F(Agents, ItsRanksMakeACheckpointWhenItIsToEnd) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(1);
  const std::string job = Submit(1);
  ASSERT_TRUE(Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; })) << lines();
  EXPECT_TRUE(Stop().ok());
  const v1::Job moved = Get(job);
  EXPECT_GT(moved.last_commit().step(), 0);
  EXPECT_EQ(moved.restarts(), 0);  // it was no fault
  EXPECT_TRUE(moved.state() == v1::JOB_STATE_QUEUED || moved.state() == v1::JOB_STATE_SUBMITTED) << moved.reason();
}

TEST_F(Agents, ASecondWordEndsRanksAtOnce) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  setenv("FAKE_RANK_DO", "stay:1:0:5", 1);
  Start(1);
  const std::string job = Submit(1);
  ASSERT_TRUE(Eventually([&] { return Get(job).ranks_size() == 1 && Get(job).ranks(0).step() >= 5; })) << lines();
  EXPECT_TRUE(Stop(/*now=*/true).ok());
  for (const auto& [rank, pid] : PidsOf(1)) EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(Agents, WhatRanksPrintReachesTheCoordinator) {
  Start(1);
  const std::string job = Submit(1);
  EndOf(job);
  v1::ReadLogRequest request;
  request.set_job(job);
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    const auto stream = rig.users->ReadLog(&context, request);
    std::string text;
    for (v1::ReadLogReply reply; stream->Read(&reply);)
      for (const v1::LogPart& part : reply.parts()) text += part.text();
    return stream->Finish().ok() && text.find(" finishes 20\n") != std::string::npos;
  })) << lines();
}

TEST_F(Agents, HostileBytesOnTheSocketAreRefused) {
  setenv("FAKE_RANK_STEPS", "1000000", 1);
  Start(1);
  const std::string job = Submit(1);
  ASSERT_TRUE(Eventually([&] { return Get(job).state() == v1::JOB_STATE_RUNNING; })) << lines();
  const auto channel =
      grpc::CreateChannel("unix:" + folder() + "/state/agent.sock", grpc::InsecureChannelCredentials());
  const auto ranks = v1::Ranks::NewStub(channel);
  for (const char* method : {"Take", "Tell", "Commit", "Set", "Get"}) {
    const std::string path = std::string("/filigree.v1.Ranks/") + method;
    for (const std::string& bytes : {std::string(200, '\xff'), std::string(), std::string("\x0a\x05")})
      EXPECT_FALSE(coordinator::SendBytes(channel, path, bytes).ok()) << method;
    EXPECT_EQ(coordinator::SendBytes(channel, path, std::string(2 << 20, 'x')).error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED)
        << method;
  }
  v1::TakeRequest take;
  take.set_process("0123456789abcdef");
  for (const int64_t wait_us : {int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    take.set_wait_us(wait_us);
    EXPECT_TRUE(absl::IsInvalidArgument(Call(ranks, &v1::Ranks::Stub::Take, take).status())) << wait_us;
  }
  v1::RankSetRequest set;
  set.set_process("../../etc");
  set.set_generation(1);
  set.set_key("k");
  EXPECT_TRUE(absl::IsInvalidArgument(Call(ranks, &v1::Ranks::Stub::Set, set).status()));
  set.set_process("0123456789abcdef");  // nobody's name
  EXPECT_TRUE(absl::IsNotFound(Call(ranks, &v1::Ranks::Stub::Set, set).status()));
  set.set_key(std::string(257, 'k'));
  EXPECT_TRUE(absl::IsInvalidArgument(Call(ranks, &v1::Ranks::Stub::Set, set).status()));
  EXPECT_EQ(Get(job).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(Agents, TheSocketIsItsUsersAlone) {
  Start(1);
  struct stat facts = {};
  ASSERT_EQ(stat((folder() + "/state").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700U);
}

TEST_F(ShortLease, RanksAreGoneWhenItIsOverAndTheJobGoesOnLater) {
  setenv("FAKE_RANK_STEPS", "400", 1);
  Start(2);
  const std::string job = Submit(2);
  ASSERT_TRUE(Eventually([&] { return PidsOf(1).size() == 2 && Get(job).state() == v1::JOB_STATE_RUNNING; }))
      << lines();
  const std::map<int, int> first = PidsOf(1);
  rig.Stop();
  EXPECT_TRUE(Eventually([&] { return kill(first.at(0), 0) != 0 && kill(first.at(1), 0) != 0; })) << lines();
  rig.Start();
  const v1::Job done = EndOf(job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE) << done.reason() << lines();
  EXPECT_GT(done.generation(), 1);
  EXPECT_NE(lines().find("incarnation 2"), std::string::npos) << lines();
}

}  // namespace
}  // namespace filigree::agent
