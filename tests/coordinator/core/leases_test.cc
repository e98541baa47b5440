#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

RegisterRequest Registration(const std::string& name, const std::string& nonce, int32_t slots = 1) {
  RegisterRequest request;
  request.name = request.host = name;
  request.slots = slots;
  request.nonce = nonce;
  return request;
}

Presence PresenceOf(ScriptedCluster& cluster, const std::string& name) {
  return cluster.core().tables().FindWorker(name)->presence;
}

void Tick(ScriptedCluster& cluster) { ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok()); }

TEST(Leases, AWorkerIsLostWhenItsLeaseIsOverAndNoSooner) {
  ScriptedCluster cluster;
  const int64_t lease_us = cluster.core().options().lease_us;
  cluster.Join("a", 1);
  cluster.Pass(lease_us - 1);
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLive);
  cluster.Pass(1);
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLost);
  EXPECT_EQ(cluster.events.back().kind, EventKind::kWorkerLost);
  EXPECT_EQ(cluster.events.back().worker, "a");
}

TEST(Leases, EveryHeartbeatBuysAWholeLease) {
  ScriptedCluster cluster;
  const int64_t lease_us = cluster.core().options().lease_us;
  cluster.Join("a", 1);
  for (int i = 0; i < 5; ++i) {
    cluster.Pass(lease_us - 1);
    ASSERT_TRUE(cluster.Beat("a").ok());
  }
  cluster.Pass(lease_us);
  // The heartbeat itself comes too late: it is looked at after the leases.
  EXPECT_TRUE(
      Says(cluster.Beat("a").status(), absl::StatusCode::kFailedPrecondition, "incarnation 1 of worker a is over"));
}

TEST(Leases, WorkersAreToldAShorterLeaseThanTheyAreGiven) {
  Options options;
  options.lease_us = 10'000 * kMs;
  options.lease_margin_us = 1'000 * kMs;
  options.heartbeat_us = 250 * kMs;
  ScriptedCluster cluster(options);
  const auto reply = cluster.Keep(cluster.core().Register(cluster.now(), Registration("a", "n")));
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->lease_us, 9'000 * kMs);
  EXPECT_EQ(reply->heartbeat_us, 250 * kMs);
  EXPECT_EQ(reply->epoch, 1);
}

TEST(Leases, AnIncarnationThatWasLostIsRefusedForEverAndTheNameComesBackAsTheNext) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Pass(cluster.core().options().lease_us);
  Tick(cluster);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(cluster.Beat("a").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("a")})).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const auto reply = cluster.Keep(cluster.core().Register(cluster.now(), Registration("a", "another")));
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->incarnation, 2);
  EXPECT_EQ(cluster.Beat("a").status().code(), absl::StatusCode::kFailedPrecondition);  // still the first one's voice
}

TEST(Leases, ANameIsTakenWhileItsLeaseRunsUnlessItsOwnProcessReplacesItself) {
  ScriptedCluster cluster;
  ASSERT_TRUE(cluster.Keep(cluster.core().Register(cluster.now(), Registration("a", "first"))).ok());
  cluster.Pass(1'000 * kMs);
  RegisterRequest request = Registration("a", "second");
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Register(cluster.now(), request)).status(),
                   absl::StatusCode::kAlreadyExists, "whose lease has 3000 ms to run"));
  request.replaces = "a-guess";
  EXPECT_EQ(cluster.Keep(cluster.core().Register(cluster.now(), request)).status().code(),
            absl::StatusCode::kAlreadyExists);
  request.replaces = "first";
  const auto reply = cluster.Keep(cluster.core().Register(cluster.now(), request));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->incarnation, 2);
}

TEST(Leases, AnOldHeartbeatIsAbortedAndRenewsNothing) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  HeartbeatRequest request;
  request.speaker = cluster.SpeakerOf("a");
  request.epoch = 1;
  request.sequence = 5;
  ASSERT_TRUE(cluster.Keep(cluster.core().Heartbeat(cluster.now(), request)).ok());
  cluster.Pass(3'000 * kMs);
  for (const int64_t sequence : {4, 5}) {
    request.sequence = sequence;
    EXPECT_TRUE(Says(cluster.Keep(cluster.core().Heartbeat(cluster.now(), request)).status(),
                     absl::StatusCode::kAborted, "comes after its heartbeat 5"));
  }
  cluster.Pass(1'000 * kMs);
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLost);
}

TEST(Leases, ANewProcessGrantsEveryLiveWorkerAWholeLease) {
  ScriptedCluster cluster;
  const int64_t lease_us = cluster.core().options().lease_us;
  cluster.Join("a", 1);
  cluster.Pass(lease_us - 1);
  cluster.RestartCoordinator();
  cluster.Pass(lease_us - 1);
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLive);
  cluster.Pass(1);
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLost);
}

TEST(Leases, AfterARestartTheFirstHeartbeatRenewsAndDecidesNothing) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  cluster.RestartCoordinator();
  HeartbeatRequest request;  // without the rank: it may have been sent before the rank was started
  request.speaker = cluster.SpeakerOf("a");
  request.epoch = 1;
  request.sequence = 1000;
  const auto reply = cluster.Keep(cluster.core().Heartbeat(cluster.now(), request));
  ASSERT_TRUE(reply.ok());
  EXPECT_TRUE(reply->again);
  EXPECT_EQ(reply->epoch, 2);
  EXPECT_TRUE(reply->assignments.empty());
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
}

TEST(Leases, AWorkerThatOnlyRegisteredGetsNoRanks) {
  ScriptedCluster cluster;
  const auto reply = cluster.Keep(cluster.core().Register(cluster.now(), Registration("a", "n")));
  ASSERT_TRUE(reply.ok());
  const std::string job = cluster.Submit(Spec("job"));
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);
  cluster.worker("a").incarnation = reply->incarnation;
  cluster.worker("a").epoch = reply->epoch;
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);
}

TEST(Leases, AWorkerThatLeavesTakesItsRanksWithIt) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string job = cluster.Run(Spec("job", 2));
  ASSERT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("b")})).ok());
  EXPECT_EQ(PresenceOf(cluster, "b"), Presence::kLeft);
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  EXPECT_NE(cluster.Job(job).reason.find("rank 1 on worker b: it left"), std::string::npos) << cluster.Job(job).reason;
}

TEST(Leases, TheEndOfALeaseThatWasNotKeptIsDecidedAgain) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Pass(cluster.core().options().lease_us);
  cluster.disk_full = true;
  EXPECT_EQ(cluster.Keep(cluster.core().Tick(cluster.now())).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLive);
  cluster.disk_full = false;
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "a"), Presence::kLost);
}

// As long as the disk is full no end of a lease can be kept; those that speak keep theirs.
TEST(Leases, ASilentWorkerCostsNobodyElseTheLeaseWhereNothingCanBeKept) {
  ScriptedCluster cluster;
  const int64_t lease_us = cluster.core().options().lease_us;
  cluster.Join("silent", 1);
  cluster.Join("speaks", 1);
  int64_t sequence = 1000;
  for (int i = 0; i < 10; ++i) {
    cluster.Pass(lease_us / 2);
    HeartbeatRequest beat;
    beat.speaker = {"speaks", 1};
    beat.epoch = cluster.core().tables().epoch();
    beat.sequence = ++sequence;
    Core& core = cluster.core();
    const Decision<HeartbeatReply> decision = core.Heartbeat(cluster.now(), beat);
    EXPECT_TRUE(decision.reply.ok()) << decision.reply.status();
    EXPECT_TRUE(decision.outcome.rows.empty()) << "nothing that a full disk could refuse";
    core.Accept(decision.outcome);
    const Decision<Empty> tick = core.Tick(cluster.now());
    core.Drop(tick.outcome);
  }
  EXPECT_EQ(PresenceOf(cluster, "speaks"), Presence::kLive);
  EXPECT_EQ(PresenceOf(cluster, "silent"), Presence::kLive) << "its end was never kept";
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, "silent"), Presence::kLost);
}

TEST(Leases, RegistrationsOutOfRangeAreRefused) {
  Options options;
  options.max_workers = 2;
  ScriptedCluster cluster(options);
  const auto ask = [&](const RegisterRequest& request) {
    return cluster.Keep(cluster.core().Register(cluster.now(), request)).status();
  };
  for (const int32_t slots : {0, -1, 4097})
    EXPECT_TRUE(Says(ask(Registration("a", "n", slots)), absl::StatusCode::kInvalidArgument, "is outside 1..4096"));
  EXPECT_TRUE(Says(ask(Registration("", "n")), absl::StatusCode::kInvalidArgument, "name of the worker"));
  EXPECT_TRUE(Says(ask(Registration("a", "")), absl::StatusCode::kInvalidArgument, "nonce of worker"));
  RegisterRequest request = Registration("a", "n");
  request.host = "a/b";
  EXPECT_TRUE(Says(ask(request), absl::StatusCode::kInvalidArgument, "host of worker"));
  EXPECT_TRUE(ask(Registration("a", "n", 4096)).ok());
  EXPECT_TRUE(ask(Registration("b", "n")).ok());
  EXPECT_TRUE(Says(ask(Registration("c", "n")), absl::StatusCode::kResourceExhausted, "2 workers are registered"));
}

// The Tick that ends its lease has not come yet.
TEST(Leases, AHeartbeatPlacesNothingOnAWorkerWhoseLeaseIsOver) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  const std::string first = cluster.Run(Spec("first", 1));
  const std::string runs_on = cluster.Job(first).ranks[0].worker, other = runs_on == "a" ? "b" : "a";
  contract::JobSpec both = Spec("both", 2, 1, 2);
  both.restart_limit = contract::kNoRestart;
  const std::string job = cluster.Submit(both);
  ASSERT_EQ(cluster.State(job), JobState::kQueued);
  cluster.Pass(cluster.core().options().lease_us / 2);
  ASSERT_TRUE(cluster.Beat(runs_on).ok());
  cluster.Pass(cluster.core().options().lease_us / 2 + 1);
  cluster.Rank(first, 0).state = RankState::kFinished;
  ASSERT_TRUE(cluster.Beat(runs_on).ok());  // frees its slot
  EXPECT_EQ(cluster.State(first), JobState::kDone);
  EXPECT_EQ(cluster.State(job), JobState::kQueued) << cluster.Job(job).reason;
  Tick(cluster);
  EXPECT_EQ(PresenceOf(cluster, other), Presence::kLost);
  EXPECT_EQ(cluster.Job(job).generation, 0) << "it was never placed, so that it cannot have failed";
  EXPECT_FALSE(Ended(cluster.State(job))) << cluster.Job(job).reason;
}

}  // namespace
}  // namespace filigree::coordinator
