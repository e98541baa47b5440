// Ranks that must agree before a run: one that fails takes all along with its reason, one that differs is named.

#include "worker/parallel/world.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "worker/machine/processor.h"
#include "worker/parallel/threads.h"

namespace filigree::parallel {
namespace {

using testing::HasSubstr;

TEST(World, OneRankThatFailsIsTheReasonOfAll) {
  testing_support::RunRanks(3, [](std::unique_ptr<comm::Transport> transport) {
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    EXPECT_TRUE((*world)->Agree(absl::OkStatus()).ok());
    const bool fails = (*world)->rank() > 0;
    const absl::Status agreed =
        (*world)->Agree(fails ? absl::DataLossError("a shard of data is torn") : absl::OkStatus());
    EXPECT_EQ(agreed.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(agreed.message()), HasSubstr("rank 1 on "));
    EXPECT_THAT(std::string(agreed.message()), HasSubstr("a shard of data is torn"));
  });
}

TEST(World, ARankWithAnotherValueIsNamedWithTheField) {
  testing_support::RunRanks(4, [](std::unique_ptr<comm::Transport> transport) {
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    EXPECT_TRUE((*world)->Compare({{"optim.lr", "0.1"}, {"run.seed", "1"}}).ok());
    const std::string seed = (*world)->rank() == 2 ? "7" : "1";
    const absl::Status status = (*world)->Compare({{"optim.lr", "0.1"}, {"run.seed", seed}});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("ranks disagree in run.seed"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank 2 on "));
  });
}

TEST(World, SettingsThatOneRankCannotReadEndAll) {
  testing_support::RunRanks(2, [](std::unique_ptr<comm::Transport> transport) {
    const bool broken = transport->rank() == 1;
    const absl::StatusOr<config::Settings> settings =
        broken ? absl::StatusOr<config::Settings>(absl::NotFoundError("run.toml is not there")) : config::Settings();
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(settings, std::move(transport));
    EXPECT_EQ(world.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(world.status().message()), HasSubstr("rank 1 on "));
  });
}

TEST(World, AGridThatDoesNotFitEndsAll) {
  testing_support::RunRanks(2, [](std::unique_ptr<comm::Transport> transport) {
    config::Settings settings;
    settings.parallel.data = 3;
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(settings, std::move(transport));
    EXPECT_EQ(world.status().code(), absl::StatusCode::kInvalidArgument);
  });
}

TEST(World, AllRanksKnowWhetherEachHasACoreToSpare) {
  testing_support::RunRanks(3, [](std::unique_ptr<comm::Transport> transport) {
    config::Settings settings;
    settings.run.threads = transport->rank() == 1 ? 1024 : 1;  // more than there are
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    EXPECT_EQ((*world)->hosts(), 1);
    EXPECT_EQ((*world)->ranks_on_this_host(), 3);
    EXPECT_FALSE((*world)->has_spare_cores());
  });
  const int cores = machine::DescribeProcessor().cores, ranks = std::max(1, cores / 2);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    config::Settings settings;
    settings.run.threads = 1;
    const absl::StatusOr<std::unique_ptr<World>> world = World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    EXPECT_EQ((*world)->has_spare_cores(), cores > 1);
  });
}

TEST(Threads, ACoreMoreThanThreadsForEveryRankIsSpare) {
  EXPECT_TRUE(HasSpareCores(4, 1, 2));
  EXPECT_FALSE(HasSpareCores(3, 1, 2));
  EXPECT_FALSE(HasSpareCores(2, 1, 2));
  EXPECT_TRUE(HasSpareCores(16, 7, 2));
  EXPECT_FALSE(HasSpareCores(16, 8, 2));
  config::RunSettings settings;
  EXPECT_EQ(ThreadsOfRank(settings, 100'000), 1);
  settings.threads = 3;
  EXPECT_EQ(ThreadsOfRank(settings, 100'000), 3);
}

TEST(World, AloneAgreesWithItself) {
  const std::unique_ptr<World> world = World::Alone();
  EXPECT_EQ(world->size(), 1);
  EXPECT_TRUE(world->first());
  EXPECT_EQ(world->Agree(absl::InternalError("x")).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(world->Compare({{"a", "b"}}).ok());
}

}  // namespace
}  // namespace filigree::parallel
