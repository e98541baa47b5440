#include "worker/parallel/generations.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/ranks.h"
#include "worker/comm/local.h"

namespace filigree::parallel {
namespace {

// Generations of this process alone, as they were written down before; keeps what it was told.
class Written : public Membership {
 public:
  explicit Written(std::vector<Generation> generations) : generations_(std::move(generations)) {}

  absl::StatusOr<Generation> First() override { return Take(); }
  void Announce(const Generation& /*lost*/) override {}
  absl::StatusOr<Generation> Next(const Generation& last, const std::string& missed) override {
    told.push_back(std::to_string(last.number) + ": " + missed);
    return Take();
  }
  absl::StatusOr<std::unique_ptr<comm::Transport>> Join(const Generation& generation) override {
    if (generation.number == unreachable) return absl::UnavailableError("nobody came");
    if (transport != nullptr) return std::move(transport);
    return std::move(comm::LocalTransports(1).front());
  }
  void Finish(int exit_code) override { finished = exit_code; }

  int64_t unreachable = -1;
  std::unique_ptr<comm::Transport> transport;  // of the first generation; null: a world of one
  std::vector<std::string> told;
  int finished = -1;

 private:
  absl::StatusOr<Generation> Take() {
    if (next_ == generations_.size()) return absl::UnavailableError("there are no more");
    return generations_[next_++];
  }

  const std::vector<Generation> generations_;
  size_t next_ = 0;
};

Generation Of(int64_t number) {
  Generation generation;
  generation.number = number;
  generation.first = number == 0;
  generation.members = {0};
  return generation;
}

struct Seen {
  std::vector<int64_t> numbers;
  std::vector<std::string> said;
  absl::StatusOr<int> exit_code = absl::UnknownError("not run");
};

// Runs them; `outcomes`: of the work, one after another.
Seen RunAll(Written& membership, std::vector<Outcome> outcomes, const config::Settings& settings = {}) {
  Seen seen;
  const auto work = [&](World& /*world*/, const Generation& generation) {
    seen.numbers.push_back(generation.number);
    return outcomes.at(seen.numbers.size() - 1);
  };
  seen.exit_code =
      RunGenerations(settings, membership, work, [&](const std::string& text) { seen.said.push_back(text); });
  return seen;
}

TEST(Generations, EndWithTheWork) {
  Written membership({Of(0)});
  const Seen seen = RunAll(membership, {{75}});
  ASSERT_TRUE(seen.exit_code.ok());
  EXPECT_EQ(*seen.exit_code, 75);
  EXPECT_EQ(membership.finished, 75);
  EXPECT_TRUE(seen.said.empty());
}

// Whoever is first may be killed before it has said so; a failure of another's own ends nobody's job.
TEST(Generations, AreSaidToBeOverByEveryMemberThatIsDone) {
  for (const int code : {0, 1}) {
    testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
      Generation both = Of(0);
      both.members = {0, 1};
      const bool first = transport->rank() == 0;
      Written membership({both});
      membership.transport = std::move(transport);
      const Seen seen = RunAll(membership, {{code}});
      ASSERT_TRUE(seen.exit_code.ok()) << seen.exit_code.status();
      EXPECT_EQ(membership.finished, first || code == 0 ? code : -1);
    });
  }
}

TEST(Generations, GoOnAfterALossAndSayWhatWasMissed) {
  Written membership({Of(0), Of(1)});
  const Seen seen = RunAll(membership, {{4, absl::UnavailableError("rank 1 is gone")}, {0}});
  ASSERT_TRUE(seen.exit_code.ok());
  EXPECT_EQ(seen.numbers, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(membership.told, (std::vector<std::string>{"0: rank 1 is gone"}));
  ASSERT_EQ(seen.said.size(), 1u);
  EXPECT_EQ(seen.said[0].find("rank 1 is gone; going on as generation 1: 1 ranks"), 0u) << seen.said[0];
}

TEST(Generations, GoOnWhereTheyWereLeftOnRequestAndMissNobody) {
  Written membership({Of(7), Of(9)});
  const Seen seen = RunAll(membership, {{75, absl::OkStatus(), /*left=*/true}, {0}});
  ASSERT_TRUE(seen.exit_code.ok());
  EXPECT_EQ(*seen.exit_code, 0);
  EXPECT_EQ(membership.told, (std::vector<std::string>{"7: "}));
  EXPECT_EQ(membership.finished, 0);
  ASSERT_EQ(seen.said.size(), 1u);
  EXPECT_EQ(seen.said[0].find("generation 7 was left on request; going on as generation 9"), 0u) << seen.said[0];
}

TEST(Generations, OfWhomNobodyComesEndTheJobOnlyWhereNoneWasBefore) {
  Written first({Of(0), Of(1)});
  first.unreachable = 0;
  EXPECT_EQ(RunAll(first, {}).exit_code.status().message(), "nobody came");
  EXPECT_TRUE(first.told.empty());

  Written later({Of(3), Of(4)});
  later.unreachable = 3;
  const Seen seen = RunAll(later, {{0}});
  ASSERT_TRUE(seen.exit_code.ok());
  EXPECT_EQ(seen.numbers, (std::vector<int64_t>{4}));
  EXPECT_EQ(later.told, (std::vector<std::string>{"3: nobody came"}));
}

TEST(Generations, HaveTheGridThatWasDecidedOnWhateverTheSettingsSay) {
  config::Settings settings;
  settings.parallel.data = 3;  // a world of one does not hold that
  Generation decided = Of(2);
  decided.grid = Grid{1, 1};
  Written membership({decided});
  EXPECT_TRUE(RunAll(membership, {{0}}, settings).exit_code.ok());
  Written first({Of(0)});
  EXPECT_FALSE(RunAll(first, {{0}}, settings).exit_code.ok());
  Written later({Of(1)});  // where nobody decided, after a loss: what fits
  EXPECT_TRUE(RunAll(later, {{0}}, settings).exit_code.ok());
}

TEST(Generations, OfAJobThatEndedWithoutThisProcessGiveItsExitCode) {
  Generation over = Of(1);
  over.over = 3;
  Written membership({Of(0), over});
  const Seen seen = RunAll(membership, {{4, absl::UnavailableError("rank 1 is gone")}});
  ASSERT_TRUE(seen.exit_code.ok());
  EXPECT_EQ(*seen.exit_code, 3);
  EXPECT_EQ(membership.finished, -1);
}

TEST(Generations, ThatCannotGoOnSayBothWhatWasLostAndWhyNot) {
  Written membership({Of(0)});
  const Seen seen = RunAll(membership, {{4, absl::UnavailableError("rank 1 is gone")}});
  EXPECT_TRUE(absl::IsAborted(seen.exit_code.status()));
  EXPECT_EQ(seen.exit_code.status().message(), "rank 1 is gone; there are no more");
}

}  // namespace
}  // namespace filigree::parallel
