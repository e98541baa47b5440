#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <thread>

#include "tests/worker/attach/fake_agent.h"
#include "worker/attach/agent_link.h"

namespace filigree::attach {
namespace {

constexpr milliseconds kShort{20};
const std::string kDigest = "0123456789abcdef";

TEST(AgentLink, TakesThePartThatTheAgentHas) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  const absl::StatusOr<Taken> not_yet = link.Take(0, "", kShort);
  ASSERT_TRUE(not_yet.ok()) << not_yet.status();
  EXPECT_FALSE(not_yet->part.has_value());
  EXPECT_FALSE(not_yet->over);
  agent.Give("p", 3, 5, 4, 2, [](v1::Part& part) {
    part.set_rollback(true);
    part.mutable_resume()->set_generation(2);
    part.mutable_resume()->set_step(40);
    part.mutable_resume()->set_digest(kDigest);
  });
  const absl::StatusOr<Taken> taken = link.Take(2, "rank 1 is gone", kShort);
  ASSERT_TRUE(taken.ok()) << taken.status();
  ASSERT_TRUE(taken->part.has_value());
  EXPECT_EQ(taken->part->job, "night-1");
  EXPECT_EQ(taken->part->generation, 3);
  EXPECT_EQ(taken->part->rank, 5);
  EXPECT_EQ(taken->part->grid.data, 4);
  EXPECT_EQ(taken->part->grid.tensor, 2);
  EXPECT_TRUE(taken->part->rollback);
  ASSERT_TRUE(taken->part->resume.has_value());
  EXPECT_EQ(taken->part->resume->step, 40);
  EXPECT_EQ(taken->part->resume->digest, kDigest);
  EXPECT_EQ(agent.AwaitTake("p", 2).lost(), "rank 1 is gone");
  agent.TellOver("p");
  EXPECT_TRUE(link.Take(3, "", kShort)->over);
}

TEST(AgentLink, RefusesPartsThatMakeNoSense) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  const std::map<std::string, std::function<void(v1::Part&)>> wrong = {
      {"generation 5 follows one of generation 5", [](v1::Part& part) { part.set_generation(5); }},
      {"generation 4 follows one of generation 5", [](v1::Part& part) { part.set_generation(4); }},
      {"rank 4 of 4 ranks", [](v1::Part& part) { part.set_rank(4); }},
      {"rank -1 of 4 ranks", [](v1::Part& part) { part.set_rank(-1); }},
      {"a grid of 0 x 2 ranks", [](v1::Part& part) { part.set_data(0); }},
      {"a grid of -2 x -2 ranks",
       [](v1::Part& part) {
         part.set_data(-2);
         part.set_tensor(-2);
       }},
      {"a grid of 2147483647 x 2147483647 ranks",
       [](v1::Part& part) {
         part.set_data(2147483647);
         part.set_tensor(2147483647);
       }},
      {"the job", [](v1::Part& part) { part.set_job("../../x"); }},
      {"from a checkpoint of generation 6",
       [](v1::Part& part) {
         part.mutable_resume()->set_generation(6);
         part.mutable_resume()->set_digest(kDigest);
       }},
      {"from step -1",
       [](v1::Part& part) {
         part.mutable_resume()->set_generation(5);
         part.mutable_resume()->set_step(-1);
         part.mutable_resume()->set_digest(kDigest);
       }},
      {"digest",
       [](v1::Part& part) {
         part.mutable_resume()->set_generation(5);
         part.mutable_resume()->set_digest("/etc/passwd");
       }},
  };
  for (const auto& [words, spoil] : wrong) {
    agent.Give("p", 6, 0, 2, 2, spoil);
    const absl::StatusOr<Taken> taken = link.Take(5, "", kShort);
    ASSERT_FALSE(taken.ok()) << words;
    EXPECT_TRUE(absl::IsDataLoss(taken.status())) << taken.status();
    EXPECT_NE(std::string(taken.status().message()).find(words), std::string::npos) << taken.status();
  }
}

TEST(AgentLink, HearsWhatIsLeftOfTheLeaseAndRefusesNonsense) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  v1::TellRequest request;
  request.set_generation(1);
  absl::StatusOr<Order> order = link.Tell(request, milliseconds(10'000));
  ASSERT_TRUE(order.ok()) << order.status();
  EXPECT_FALSE(order->lease_left.has_value());
  for (const int64_t left_us : {int64_t{0}, int64_t{1234}, int64_t{3'600'000'000}}) {
    agent.Lease(left_us);
    order = link.Tell(request, milliseconds(10'000));
    ASSERT_TRUE(order.ok()) << order.status();
    EXPECT_EQ(order->lease_left, std::chrono::microseconds(left_us));
  }
  for (const int64_t left_us : {int64_t{-1}, int64_t{3'600'000'001}, std::numeric_limits<int64_t>::max()}) {
    agent.Lease(left_us);
    EXPECT_TRUE(absl::IsDataLoss(link.Tell(request, milliseconds(10'000)).status())) << left_us;
  }
}

TEST(AgentLink, RefusesADirectiveThatItDoesNotKnow) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  v1::TellRequest request;
  request.set_generation(1);
  agent.Direct("p", 1, static_cast<v1::Directive>(77), false);
  EXPECT_TRUE(absl::IsDataLoss(link.Tell(request, milliseconds(1000)).status()));
  agent.Direct("p", 1, v1::DIRECTIVE_LEAVE, true);
  const absl::StatusOr<Order> order = link.Tell(request, milliseconds(1000));
  ASSERT_TRUE(order.ok()) << order.status();
  EXPECT_EQ(order->directive, Directive::kLeave);
  EXPECT_TRUE(order->keep);
}

TEST(AgentLink, KnowsAnAgentThatIsGoneFromOneThatWasNeverSilent) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  ASSERT_TRUE(link.Take(0, "", kShort).ok());
  EXPECT_FALSE(link.Gone(milliseconds(0)));
  agent.Stop();
  EXPECT_FALSE(link.Take(0, "", kShort).ok());
  EXPECT_TRUE(link.Gone(std::chrono::hours(1)));
}

TEST(AgentLink, IsOpenedFromTheEnvironment) {
  std::map<std::string, std::string> variables = {{"FILIGREE_AGENT", "unix:/run/agent"}, {"FILIGREE_PROCESS", "ab12"}};
  const parallel::Environment environment = [&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  EXPECT_TRUE(StartedByAgent(environment));
  EXPECT_TRUE(OpenAgentLink(environment).ok());
  for (const char* wrong : {"/run/agent", "unix:", "unix:relative", "tcp:127.0.0.1:1"}) {
    variables["FILIGREE_AGENT"] = wrong;
    EXPECT_TRUE(absl::IsInvalidArgument(OpenAgentLink(environment).status())) << wrong;
  }
  variables["FILIGREE_AGENT"] = "unix:/" + std::string(107, 'x');
  EXPECT_TRUE(absl::IsInvalidArgument(OpenAgentLink(environment).status()));
  variables["FILIGREE_AGENT"] = "unix:/run/agent";
  variables["FILIGREE_PROCESS"] = "a b";
  EXPECT_TRUE(absl::IsInvalidArgument(OpenAgentLink(environment).status()));
  variables.erase("FILIGREE_AGENT");
  EXPECT_FALSE(StartedByAgent(environment));
}

TEST(AgentLink, OfALauncherItsRankIsPartOfTheName) {
  FakeAgent agent;
  std::map<std::string, std::string> variables = {
      {"FILIGREE_AGENT", "unix:" + agent.path()}, {"FILIGREE_PROCESS", "ab12"}, {"OMPI_COMM_WORLD_RANK", "3"}};
  const parallel::Environment environment = [&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  EXPECT_TRUE(StartedByAgent(environment));
  agent.Give("ab12.3", 1, 3, 4);
  const auto link = OpenAgentLink(environment);
  ASSERT_TRUE(link.ok()) << link.status();
  const absl::StatusOr<Taken> taken = (*link)->Take(0, "", kShort);
  ASSERT_TRUE(taken.ok() && taken->part) << taken.status();
  EXPECT_EQ(taken->part->rank, 3);
  variables["OMPI_COMM_WORLD_RANK"] = "3/..";
  EXPECT_TRUE(absl::IsInvalidArgument(OpenAgentLink(environment).status()));
}

}  // namespace
}  // namespace filigree::attach
