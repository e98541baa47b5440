#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>

#include "tests/worker/attach/fake_agent.h"
#include "worker/attach/agent_membership.h"
#include "worker/attach/agent_store.h"

namespace filigree::attach {
namespace {

// One process of the agent's.
struct Process {
  Process(FakeAgent& agent, const std::string& name, std::function<bool()> stop_requested = nullptr)
      : link(agent.path(), name), teller(link, Quick()), membership(link, teller, Options(std::move(stop_requested))) {}

  static TellerOptions Quick() {
    TellerOptions options;
    options.interval = milliseconds(10);
    options.alone = [](const std::string&) {};
    return options;
  }
  static MembershipOptions Options(std::function<bool()> stop_requested) {
    MembershipOptions options;
    options.host = "127.0.0.1";
    options.patience = milliseconds(300);
    options.stop_requested = std::move(stop_requested);
    return options;
  }

  AgentLink link;
  Teller teller;
  AgentMembership membership;
};

TEST(AgentMembership, FollowsTheGenerationsOfTheCoordinator) {
  FakeAgent agent;
  Process p(agent, "p");
  agent.Give("p", 4, 1, 3, 2);
  const absl::StatusOr<parallel::Generation> first = p.membership.First();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->number, 4);
  EXPECT_FALSE(first->first);  // of this process; others may have been before
  EXPECT_EQ(first->rank, 1);
  EXPECT_EQ(first->size(), 6);
  ASSERT_TRUE(first->grid.has_value());
  EXPECT_EQ(first->grid->data, 3);
  EXPECT_EQ(first->grid->tensor, 2);
  EXPECT_EQ(p.membership.part().job, "night-1");
  agent.AwaitTell("p", [](const auto& tell) { return tell.generation() == 4; });
  auto next = std::async(std::launch::async, [&] { return p.membership.Next(*first, "rank 2 is gone"); });
  EXPECT_EQ(agent.AwaitTake("p", 4).lost(), "rank 2 is gone");
  agent.Give("p", 6, 0, 1);
  const absl::StatusOr<parallel::Generation> second = next.get();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->number, 6);
  const absl::StatusOr<std::unique_ptr<comm::Transport>> alone = p.membership.Join(*second);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ((*alone)->size(), 1);
  agent.TellOver("p");
  const absl::StatusOr<parallel::Generation> over = p.membership.Next(*second, "");
  ASSERT_TRUE(over.ok()) << over.status();
  EXPECT_EQ(over->over, 75);
}

TEST(AgentMembership, MissesNobodyWhereItWasToldToLeave) {
  FakeAgent agent;
  Process p(agent, "p");
  agent.Give("p", 1, 0, 2);
  const absl::StatusOr<parallel::Generation> first = p.membership.First();
  ASSERT_TRUE(first.ok()) << first.status();
  agent.Direct("p", 1, v1::DIRECTIVE_LEAVE, true);
  p.teller.AwaitOrder(std::chrono::seconds(30));
  agent.TellOver("p");
  EXPECT_TRUE(p.membership.Next(*first, "rank 1 left").ok());
  EXPECT_EQ(agent.AwaitTake("p", 1).lost(), "");
}

TEST(AgentMembership, MeetsTheOthersThroughKeysThatACoordinatorMayForget) {
  FakeAgent agent;
  Process p(agent, "p"), q(agent, "q");
  agent.Give("p", 1, 0, 2);
  agent.Give("q", 1, 1, 2);
  const auto of_p = p.membership.First(), of_q = q.membership.First();
  ASSERT_TRUE(of_p.ok() && of_q.ok());
  auto joined = std::async(std::launch::async, [&] { return p.membership.Join(*of_p); });
  agent.AwaitMeeting();
  agent.ForgetKeys();
  const auto transport = q.membership.Join(*of_q);
  const auto other = joined.get();
  ASSERT_TRUE(transport.ok()) << transport.status();
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ((*transport)->rank(), 1);
  EXPECT_EQ((*other)->size(), 2);
}

TEST(AgentMembership, WaitsForNobodyInAGenerationThatIsToBeLeft) {
  FakeAgent agent;
  Process p(agent, "p");
  agent.Give("p", 1, 0, 2);
  const absl::StatusOr<parallel::Generation> first = p.membership.First();
  ASSERT_TRUE(first.ok()) << first.status();
  auto joined = std::async(std::launch::async, [&] { return p.membership.Join(*first); });
  agent.AwaitMeeting();
  agent.Direct("p", 1, v1::DIRECTIVE_LEAVE, true);
  ASSERT_EQ(joined.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_TRUE(absl::IsUnavailable(joined.get().status()));
}

TEST(AgentMembership, OfAProcessThatIsToStopOrThatIsAloneEnds) {
  FakeAgent agent;
  std::atomic<bool> stop{false};
  Process p(agent, "p", [&] { return stop.load(); });
  auto waiting = std::async(std::launch::async, [&] { return p.membership.First(); });
  agent.AwaitTake("p", 0);
  stop = true;
  const absl::StatusOr<parallel::Generation> stopped = waiting.get();
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(stopped->over, 75);

  Process q(agent, "q");
  auto alone = std::async(std::launch::async, [&] { return q.membership.First(); });
  agent.AwaitTake("q", 0);
  agent.Stop();
  const absl::StatusOr<parallel::Generation> gone = alone.get();
  EXPECT_TRUE(absl::IsUnavailable(gone.status()));
  EXPECT_NE(std::string(gone.status().message()).find("is gone"), std::string::npos) << gone.status();
}

TEST(AgentMembership, AsksForACommitUntilThereIsAnAnswer) {
  FakeAgent agent;
  Process p(agent, "p");
  agent.Give("p", 2, 0, 1);
  ASSERT_TRUE(p.membership.First().ok());
  const CommitPoint point = {2, 40, "0123456789abcdef"};
  agent.on_commit = [](const v1::CommitPoint&, int attempt) {
    return attempt < 2 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "no coordinator") : grpc::Status::OK;
  };
  int waited = 0;
  const auto commit = [&] {
    return CommitThroughAgent(p.link, p.teller, point, [&](const absl::Status& why) {
      EXPECT_TRUE(absl::IsUnavailable(why)) << why;
      ++waited;
    });
  };
  EXPECT_TRUE(commit().ok());
  EXPECT_EQ(waited, 2);
  ASSERT_EQ(agent.commits().size(), 1u);
  EXPECT_EQ(agent.commits()[0].generation(), 2);
  EXPECT_EQ(agent.commits()[0].step(), 40);
  EXPECT_EQ(agent.commits()[0].digest(), point.digest);

  agent.on_commit = [](const v1::CommitPoint&, int) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "late");
  };
  EXPECT_TRUE(absl::IsFailedPrecondition(commit()));

  agent.on_commit = [](const v1::CommitPoint&, int) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "none"); };
  auto asking = std::async(std::launch::async, [&] { return commit(); });
  agent.Direct("p", 2, v1::DIRECTIVE_LEAVE, true);
  EXPECT_TRUE(absl::IsUnavailable(asking.get()));
}

TEST(AgentStore, KeepsAKeyOnceAndSaysWhenAGenerationIsOver) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  bool left = false;
  const std::shared_ptr<comm::KeyValueStore> store = AgentStore(link, 5, [&] { return left; });
  EXPECT_TRUE(store->Set("k", "v").ok());
  EXPECT_TRUE(store->Set("k", "v").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(store->Set("k", "w")));
  EXPECT_EQ(*store->Get("k", milliseconds(0)), "v");
  EXPECT_TRUE(absl::IsDeadlineExceeded(store->Get("none", milliseconds(30)).status()));
  // Another generation's keys are others.
  EXPECT_FALSE(AgentStore(link, 6, [] { return false; })->Get("k", milliseconds(0)).ok());
  left = true;
  EXPECT_TRUE(absl::IsUnavailable(store->Get("k", milliseconds(0)).status()));
  EXPECT_TRUE(absl::IsUnavailable(store->Set("l", "v")));
}

}  // namespace
}  // namespace filigree::attach
