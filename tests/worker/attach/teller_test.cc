#include "worker/attach/teller.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "tests/support/patience.h"
#include "tests/worker/attach/fake_agent.h"
#include "worker/attach/report.h"

namespace filigree::attach {
namespace {

TellerOptions Quick(std::atomic<int>* alone = nullptr) {
  TellerOptions options;
  options.interval = milliseconds(10);
  options.alone = [alone](const std::string& why) {
    if (alone == nullptr) ADD_FAILURE() << why;
    if (alone != nullptr) ++*alone;
  };
  return options;
}

std::shared_ptr<metrics::RankMetrics> Metrics() {
  metrics::RankOptions options;
  options.rank = 1;
  return std::make_shared<metrics::RankMetrics>(options);
}

std::function<bool(const v1::TellRequest&)> Is(v1::RankState state) {
  return [state](const v1::TellRequest& tell) { return tell.state() == state; };
}

// Whether it is said at all: a test of what never comes fails, and does not hang.
bool Comes(const std::atomic<int>& said) {
  const auto end = std::chrono::steady_clock::now() + Patience(std::chrono::seconds(20));
  while (said == 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(milliseconds(1));
  return said != 0;
}

TEST(Teller, TellsOfAGenerationFromItsBeginningToItsEnd) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  Teller teller(link, Quick());
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_TRUE(agent.tells("p").empty());
  teller.Begin(7);
  const v1::TellRequest starting = agent.AwaitTell("p", Is(v1::RANK_STATE_STARTING));
  EXPECT_EQ(starting.generation(), 7);
  const auto metrics = Metrics();
  teller.Show(metrics, "host:9");
  EXPECT_EQ(agent.AwaitTell("p", [](const auto& tell) { return tell.metrics_address() == "host:9"; }).state(),
            v1::RANK_STATE_STARTING);
  telemetry::RunRecord run;
  run.step = 4;
  metrics->Run(run);
  EXPECT_EQ(agent.AwaitTell("p", Is(v1::RANK_STATE_RUNNING)).progress().step(), 4);
  telemetry::StepRecord step;
  step.step = 4;
  metrics->Step(step);
  teller.End();
  EXPECT_EQ(agent.tells("p").back().progress().step(), 5);
  const size_t said = agent.tells("p").size();
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(agent.tells("p").size(), said);
  // Of the next one nothing is known yet.
  teller.Begin(9);
  const v1::TellRequest next = agent.AwaitTell("p", [](const auto& tell) { return tell.generation() == 9; });
  EXPECT_EQ(next.state(), v1::RANK_STATE_STARTING);
  EXPECT_EQ(next.progress().step(), 0);
  EXPECT_EQ(next.metrics_address(), "");
}

TEST(Teller, TellsAFailureBeforeItReturns) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  Teller teller(link, Quick());
  teller.Begin(2);
  teller.Fail("the corpus is gone" + std::string(10'000, '!'));
  const v1::TellRequest last = agent.tells("p").back();
  EXPECT_EQ(last.state(), v1::RANK_STATE_FAILED);
  EXPECT_EQ(last.reason().find("the corpus is gone"), 0u);
  EXPECT_EQ(last.reason().size(), 8192u);
  teller.End();  // has nothing to tell any more
  EXPECT_EQ(agent.tells("p").back().state(), v1::RANK_STATE_FAILED);
}

TEST(Teller, HearsTheMostThatTheAgentWantsOfThisGeneration) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  Teller teller(link, Quick());
  agent.Direct("p", 1, v1::DIRECTIVE_CHECKPOINT, true);
  teller.Begin(1);
  EXPECT_EQ(teller.AwaitOrder(std::chrono::seconds(30)).directive, Directive::kCheckpoint);
  EXPECT_TRUE(teller.order().keep);
  std::atomic<int> left{0};
  teller.WhenToLeave([&] { ++left; });
  EXPECT_EQ(left, 0);
  agent.Direct("p", 1, v1::DIRECTIVE_LEAVE, false);
  while (!teller.MustLeave()) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_FALSE(teller.order().keep);
  EXPECT_EQ(left, 1);
  // What was asked is not taken back, and asked once.
  agent.Direct("p", 1, v1::DIRECTIVE_GO_ON, true);
  agent.Direct("p", 1, v1::DIRECTIVE_CHECKPOINT, true);
  const size_t said = agent.tells("p").size();
  agent.AwaitTell("p", [n = size_t{0}, said](const auto&) mutable { return ++n > said + 2; });
  EXPECT_TRUE(teller.MustLeave());
  EXPECT_EQ(left, 1);
  int late = 0;
  teller.WhenToLeave([&] { ++late; });
  EXPECT_EQ(late, 1);  // known already
  teller.Begin(2);
  EXPECT_FALSE(teller.MustLeave());
}

TEST(Teller, AsksBeforeItsTime) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  TellerOptions rarely = Quick();
  rarely.interval = std::chrono::hours(1);
  Teller teller(link, rarely);
  EXPECT_EQ(teller.Ask().directive, Directive::kGoOn);  // of no generation
  teller.Begin(1);
  agent.AwaitTell("p", [](const auto& tell) { return tell.generation() == 1; });
  agent.Direct("p", 1, v1::DIRECTIVE_LEAVE, true);
  EXPECT_EQ(teller.Ask().directive, Directive::kLeave);
}

TEST(Teller, LeavesAGenerationInWhichItHasNoPartAnyMore) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  Teller teller(link, Quick());
  agent.Refuse("p", 3, grpc::StatusCode::FAILED_PRECONDITION);
  teller.Begin(3);
  const Order order = teller.AwaitOrder(std::chrono::seconds(30));
  EXPECT_EQ(order.directive, Directive::kLeave);
  EXPECT_TRUE(order.keep);
}

TEST(Teller, KnowsThatItIsAlone) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  std::atomic<int> alone{0};
  Teller teller(link, Quick(&alone));
  agent.Refuse("p", 1, grpc::StatusCode::UNAVAILABLE);
  teller.Begin(1);
  agent.AwaitTell("p", [n = 0](const auto&) mutable { return ++n == 3; });
  EXPECT_EQ(alone, 0);  // it is there and says that it cannot
  agent.Stop();
  EXPECT_TRUE(Comes(alone));
}

TEST(Teller, KnowsThatItIsAloneWhereTheAgentDoesNotAnswer) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  std::atomic<int> alone{0};
  TellerOptions options = Quick(&alone);
  options.patience = milliseconds(1500);  // more than one call waits
  Teller teller(link, options);
  teller.Begin(1);
  agent.AwaitTell("p", [](const auto&) { return true; });
  EXPECT_EQ(alone, 0);
  agent.Freeze();
  EXPECT_TRUE(Comes(alone));
  agent.Stop();
}

TEST(Teller, KnowsThatTheAgentKnowsItNoMore) {
  FakeAgent agent;
  AgentLink link(agent.path(), "p");
  std::atomic<int> alone{0};
  Teller teller(link, Quick(&alone));
  agent.Refuse("p", 1, grpc::StatusCode::NOT_FOUND);
  teller.Begin(1);
  EXPECT_TRUE(Comes(alone));
}

// A rank of an agent that says what is left of its lease, with a clock that the test turns.
class Leased {
 public:
  explicit Leased(int64_t left_us, std::function<void(Leased&)> answering = nullptr) {
    agent_.Lease(left_us, [this, answering] {
      if (answering) answering(*this);
    });
    TellerOptions options = Quick(&alone);
    options.patience = std::chrono::hours(1);
    options.now_us = [this] { return now_us.load(); };
    options.alone = [this](const std::string& why) {
      if (alone == 0) this->why = why;  // before it counts: the test reads it then
      ++alone;
    };
    teller_.emplace(link_, options);
  }
  ~Leased() {
    agent_.Stop();
    teller_.reset();
  }
  // A generation of which the agent has heard.
  void Begin(int64_t generation) {
    teller_->Begin(generation);
    teller_->Ask();
  }
  void End() { teller_->End(); }
  FakeAgent& agent() { return agent_; }

  std::atomic<int64_t> now_us = 5'000'000;
  std::atomic<int> alone = 0;
  std::string why;

 private:
  FakeAgent agent_;
  AgentLink link_{agent_.path(), "p"};
  std::optional<Teller> teller_;
};

TEST(Teller, EndsWithTheLeaseOfAnAgentThatDoesNotRunAnyMore) {
  Leased rank(2'000'000);
  rank.Begin(1);
  rank.agent().Freeze();
  rank.now_us += 1'999'999;
  std::this_thread::sleep_for(milliseconds(300));  // calls that are not answered
  EXPECT_EQ(rank.alone, 0);
  rank.now_us += 1;
  EXPECT_TRUE(Comes(rank.alone));
  EXPECT_NE(rank.why.find("lease"), std::string::npos) << rank.why;
}

// The agent looks at its lease when it answers, some time after it was asked.
TEST(Teller, CountsALeaseFromBeforeItAsked) {
  Leased rank(2'000'000, [](Leased& asked) { asked.now_us += 1'500'000; });
  rank.Begin(1);
  rank.agent().Freeze();
  rank.now_us += 499'999;
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(rank.alone, 0);
  rank.now_us += 1;
  EXPECT_TRUE(Comes(rank.alone));
}

TEST(Teller, GoesOnAsLongAsTheLeaseIsRenewed) {
  Leased rank(2'000'000);
  rank.Begin(1);
  for (int i = 0; i < 5; ++i) {
    rank.now_us += 1'500'000;
    const size_t said = rank.agent().tells("p").size();
    rank.agent().AwaitTell("p", [n = size_t{0}, said](const auto&) mutable { return ++n > said + 1; });
  }
  EXPECT_EQ(rank.alone, 0);
  rank.agent().Lease(0);  // it is over there
  EXPECT_TRUE(Comes(rank.alone));
}

TEST(Teller, KnowsNothingOfTheLeaseBetweenGenerations) {
  std::atomic<bool> slow = false;
  Leased rank(2'000'000, [&slow](Leased&) {
    if (slow) std::this_thread::sleep_for(milliseconds(200));
  });
  rank.Begin(1);
  rank.End();
  rank.now_us += 3'600'000'000;
  slow = true;  // it has time for its first answer
  rank.Begin(2);
  EXPECT_EQ(rank.alone, 0);
}

TEST(Report, LeavesOutWhatTheCoordinatorWouldRefuse) {
  metrics::RankReading reading;
  reading.opened = true;
  reading.step = 3;
  reading.phase_seconds[0] = std::numeric_limits<double>::quiet_NaN();
  reading.phase_seconds[1] = -1;
  reading.phase_seconds[2] = 2;
  reading.run.emplace();
  reading.run->train_loss = std::numeric_limits<double>::quiet_NaN();  // is told as it is
  reading.run->matrices = {{0, "c_fc", 0.5, 0.1}, {0, "no name!", 0.5, 0.1}, {-1, "wte", 0.25, 0.2}};
  const v1::TellRequest report = ReportOf(reading);
  EXPECT_EQ(report.progress().seconds().data(), 0);
  EXPECT_EQ(report.progress().seconds().forward(), 0);
  EXPECT_EQ(report.progress().seconds().backward(), 2);
  EXPECT_TRUE(std::isnan(report.figures().train_loss()));
  EXPECT_FALSE(report.figures().has_val_loss());
  ASSERT_EQ(report.figures().matrices_size(), 2);
  EXPECT_EQ(report.figures().matrices(1).matrix(), "wte");
  EXPECT_EQ(report.figures().matrices(1).layer(), -1);
  EXPECT_EQ(report.figures().matrices(1).density(), 0.25);
}

}  // namespace
}  // namespace filigree::attach
