#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/coordinator/core/scripted_cluster.h"

// Answers get lost and journals fill up: whoever asks again gets what the first question would have got.

namespace filigree::coordinator {
namespace {

TEST(Idempotency, ARepeatedRegistrationIsTheSameProcess) {
  ScriptedCluster cluster;
  RegisterRequest request{"a", "host", 2, "nonce", ""};
  const auto first = cluster.Keep(cluster.core().Register(cluster.now(), request));
  ASSERT_TRUE(first.ok());
  cluster.Pass(cluster.core().options().lease_us - 1);
  const auto again = cluster.Keep(cluster.core().Register(cluster.now(), request));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->incarnation, first->incarnation);
  cluster.Pass(cluster.core().options().lease_us - 1);  // it was heard: the lease is a whole one again
  EXPECT_TRUE(cluster.Keep(cluster.core().Register(cluster.now(), request)).ok());
  request.slots = 3;
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Register(cluster.now(), request)).status(),
                   absl::StatusCode::kInvalidArgument, "use a new nonce"));
  cluster.Pass(cluster.core().options().lease_us);
  request.slots = 2;
  EXPECT_TRUE(Says(cluster.Keep(cluster.core().Register(cluster.now(), request)).status(),
                   absl::StatusCode::kFailedPrecondition, "is over"));
}

TEST(Idempotency, ARepeatedRegistrationOverARestartToo) {
  ScriptedCluster cluster;
  const RegisterRequest request{"a", "host", 2, "nonce", ""};
  ASSERT_TRUE(cluster.Keep(cluster.core().Register(cluster.now(), request)).ok());
  cluster.RestartCoordinator();
  const auto again = cluster.Keep(cluster.core().Register(cluster.now(), request));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->incarnation, 1);
  EXPECT_EQ(again->epoch, 2);
}

// Runs `ask` on a full disk, then as it should be, then again: Unavailable and nothing, the effect, no other effect.
void Repeat(ScriptedCluster& cluster, const std::string& what, const std::function<absl::Status()>& ask) {
  const std::string before = Dump(cluster.core().tables());
  cluster.disk_full = true;
  EXPECT_EQ(ask().code(), absl::StatusCode::kUnavailable) << what;
  EXPECT_EQ(Dump(cluster.core().tables()), before) << what;
  cluster.disk_full = false;
  EXPECT_TRUE(ask().ok()) << what;
  const std::string after = Dump(cluster.core().tables());
  EXPECT_NE(after, before) << what;
  EXPECT_TRUE(ask().ok()) << what;
  EXPECT_EQ(Dump(cluster.core().tables()), after) << what;
}

TEST(Idempotency, EveryRequestThatChangesSomethingCanBeAskedAgain) {
  ScriptedCluster cluster;
  cluster.Join("a", 8);
  const std::string drained = cluster.Run(Spec("drained")), cancelled = cluster.Run(Spec("cancelled")),
                    committing = cluster.Run(Spec("committing"));
  contract::JobSpec spec = Spec("keyed");
  spec.idempotency_key = "key";
  Core& core = cluster.core();
  Repeat(cluster, "submit", [&] { return cluster.Keep(core.Submit(cluster.now(), {spec})).status(); });
  Repeat(cluster, "cancel", [&] { return cluster.Keep(core.Cancel(cluster.now(), {cancelled})).status(); });
  Repeat(cluster, "drain job", [&] { return cluster.Keep(core.DrainJob(cluster.now(), {drained})).status(); });
  Repeat(cluster, "commit", [&] { return cluster.Commit(committing, 10); });
  Repeat(cluster, "register", [&] {
    return cluster.Keep(core.Register(cluster.now(), RegisterRequest{"b", "b", 1, "n", ""})).status();
  });
  Repeat(cluster, "drain worker", [&] { return cluster.Keep(core.DrainWorker(cluster.now(), {"a"})).status(); });
}

TEST(Idempotency, EventsOfADecisionThatWasNotKeptAreNotSaidAndComeWithTheNext) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job"));
  const size_t said = cluster.events.size();
  cluster.disk_full = true;
  EXPECT_FALSE(cluster.Commit(job, 10).ok());
  EXPECT_EQ(cluster.events.size(), said);
  cluster.disk_full = false;
  EXPECT_TRUE(cluster.Commit(job, 10).ok());
  ASSERT_EQ(cluster.events.size(), said + 1);
  EXPECT_EQ(cluster.events.back().kind, EventKind::kCommitted);
}

TEST(Idempotency, TheNumberOfARefusedSubmissionIsUsedByTheNext) {
  ScriptedCluster cluster;
  cluster.disk_full = true;
  EXPECT_FALSE(cluster.Keep(cluster.core().Submit(cluster.now(), {Spec("job")})).ok());
  cluster.disk_full = false;
  EXPECT_EQ(cluster.Submit(Spec("job")), "job-1");
  EXPECT_EQ(cluster.Submit(Spec("job")), "job-2");  // without a key every submission is a job
}

// The same requests at the same times are decided the same.
TEST(Idempotency, TwoCoresThatHearTheSameSayTheSame) {
  std::vector<std::string> dumps;
  for (int core = 0; core < 2; ++core) {
    ScriptedCluster cluster;
    cluster.Join("b", 3);
    cluster.Join("a", 2);
    cluster.Run(Spec("first", 4, 1, 2));
    cluster.Submit(Spec("second", 2, 2, 1));
    cluster.Live(3'000 * kMs);
    EXPECT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("a")})).ok());
    cluster.Live(12'000 * kMs);
    std::string said;
    for (const Event& event : cluster.events) said += Name(event.kind) + (" " + event.text) + "\n";
    dumps.push_back(Dump(cluster.core().tables()) + said);
  }
  EXPECT_EQ(dumps[0], dumps[1]);
}

}  // namespace
}  // namespace filigree::coordinator
