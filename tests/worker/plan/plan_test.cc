// Who sits where and owns what, what each holds, and whether that fits.

#include "worker/plan/plan.h"

#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/exchange/gradient_tree.h"
#include "worker/model/arena.h"
#include "worker/parallel/world.h"
#include "worker/plan/plan_text.h"
#include "worker/train/ownership.h"
#include "worker/train/rank_layout.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::plan {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 40;

model::ModelSpec Spec(int groups) {
  model::ModelSpec spec = testing_support::RunSpec();
  spec.tensor_groups = groups;
  return spec;
}

config::Settings Settings(int64_t shards, int64_t tensor, int64_t groups) {
  config::Settings settings = testing_support::ExactRun();
  settings.train.shards = shards;
  settings.parallel.tensor = tensor;
  settings.model.tensor_groups = groups;
  return settings;
}

RunPlan Planned(const config::Settings& settings, PlanOptions options) {
  absl::StatusOr<RunPlan> plan = PlanRun(Spec(static_cast<int>(settings.model.tensor_groups)), settings, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

TEST(Plan, EveryShardSequenceAndGroupHasOneOwner) {
  const RunPlan plan = Planned(Settings(5, 2, 4), {.ranks = 6, .ranks_per_host = 4, .available = kPlenty});
  ASSERT_EQ(plan.ranks.size(), 6);
  int64_t next_leaf = 0, sequences = 0;
  for (const RankPlan& rank : plan.ranks) {
    EXPECT_EQ(rank.host, rank.rank / 4);
    EXPECT_EQ(rank.slot, rank.rank % 4);
    EXPECT_EQ(rank.first_group, 2 * rank.tensor_rank);
    EXPECT_EQ(rank.groups, 2);
    EXPECT_EQ(rank.rank, 2 * rank.data_rank + rank.tensor_rank);
    if (rank.tensor_rank != 0) continue;
    EXPECT_EQ(rank.leaves.begin, next_leaf);
    next_leaf = rank.leaves.end;
    sequences += rank.sequences;
  }
  EXPECT_EQ(next_leaf, 5);
  EXPECT_EQ(sequences, testing_support::kRunSequences);
  EXPECT_TRUE(plan.fits.ok()) << plan.fits;
}

TEST(Plan, WithoutRanksIsTheGridOfTheSettings) {
  config::Settings settings = Settings(4, 2, 2);
  EXPECT_EQ(Planned(settings, {.available = kPlenty}).grid.size(), 2);
  settings.parallel.data = 3;
  EXPECT_EQ(Planned(settings, {.available = kPlenty}).grid.size(), 6);
  const absl::Status refused = PlanRun(Spec(2), settings, {.ranks = 5, .available = kPlenty}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
}

// What is said beforehand is what the state and the trees of sums then hold.
TEST(Plan, MemoryOfARankIsThatOfItsStateAndItsTree) {
  const config::Settings settings = Settings(7, 1, 1);
  const model::ModelSpec spec = Spec(1);
  const train::TrainState state(spec, settings);
  kernels::ThreadPool pool(1);
  for (const int ranks : {1, 2, 3, 4}) {
    for (const RankPlan& rank : Planned(settings, {.ranks = ranks, .available = kPlenty}).ranks) {
      exchange::GradientTree tree(state.layout, pool);
      tree.Begin(rank.leaves.begin);
      for (int64_t leaf = rank.leaves.begin; leaf < rank.leaves.end; ++leaf) {
        tree.NextLeaf();
        tree.Merge(0);
      }
      EXPECT_EQ(static_cast<size_t>(rank.memory.gradients), tree.bytes()) << rank.rank << " of " << ranks;
      const std::vector<int> owners = train::OwnersIn(settings, state.registry, {ranks, 1});
      int64_t held = ranks == 1 ? state.layout->floats() : 0;  // of a moment
      for (int t = 0; t < std::ssize(owners); ++t) {
        held += owners[t] < 0 || owners[t] == rank.rank ? state.layout->stored(t) : 0;
      }
      EXPECT_EQ(rank.memory.state, 4 * (state.layout->floats() + 2 * held));
      EXPECT_EQ(rank.memory.messages > 0, ranks > 1);
    }
  }
}

TEST(Plan, RanksThatShareTheModelHoldLessForPassesAndMoreForCopies) {
  const config::Settings settings = Settings(4, 1, 4);
  const train::RunMemory alone = Planned(settings, {.ranks = 1, .available = kPlenty}).ranks[0].memory;
  config::Settings shared = settings;
  shared.parallel.tensor = 4;
  const train::RunMemory part = Planned(shared, {.ranks = 4, .available = kPlenty}).ranks[3].memory;
  EXPECT_LT(part.activations, alone.activations);
  EXPECT_LT(part.gradients, alone.gradients);
  EXPECT_LT(part.state, alone.state);  // moments of what others own are theirs
  EXPECT_EQ(alone.copies + alone.passed + alone.messages, 0);
  EXPECT_GT(part.copies, 0);
}

// Masks and compressed copies are not counted, and little else is.
TEST(Plan, PassesOfASharedModelHoldWhatIsSaid) {
  const config::Settings settings = Settings(1, 2, 2);
  const RunPlan plan = Planned(settings, {.ranks = 2, .available = kPlenty});
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    train::TrainState state(Spec(2), settings);
    model::InitialiseWeights(state.registry, 1, pool, state.weights);
    train::Stepper stepper(settings, state, pool, world->get());
    const size_t before = stepper.network().bytes();
    const auto step = stepper.Step(testing_support::RunTokens(1).data(), testing_support::kRunSequences,
                                   testing_support::kRunPositions);
    ASSERT_TRUE(step.ok()) << step.status();
    const train::RunMemory& said = plan.ranks[(*world)->rank()].memory;
    const auto held = static_cast<double>(stepper.network().bytes() - before);
    const auto passes = static_cast<double>(said.activations + said.passed);
    EXPECT_LE(passes, held);
    EXPECT_GE(passes, 0.85 * held);
  });
}

TEST(Plan, SaysWhichRankDoesNotFitAndWhatWould) {
  const config::Settings settings = Settings(2, 1, 1);
  // Of 7 sequences in 2 shards the second rank has the larger shard.
  const int64_t need = Planned(settings, {.ranks = 2, .available = kPlenty}).ranks[1].memory.total();
  EXPECT_TRUE(Planned(settings, {.ranks = 2, .available = 2 * need}).fits.ok());
  EXPECT_TRUE(Planned(settings, {.ranks = 2, .ranks_per_host = 1, .available = need}).fits.ok());
  const RunPlan plan = Planned(settings, {.ranks = 2, .available = 2 * need - 2});
  EXPECT_EQ(plan.fits.code(), absl::StatusCode::kInvalidArgument);
  const std::string said = Text(plan);
  EXPECT_NE(said.find("It does not fit: rank 1 of 2 on host 0: "), std::string::npos) << said;
  EXPECT_NE(said.find("would fit"), std::string::npos) << said;
}

TEST(Plan, JsonHasTheSameNumbers) {
  const RunPlan plan = Planned(Settings(5, 2, 2), {.ranks = 4, .available = kPlenty});
  const auto json = nlohmann::ordered_json::parse(Json(plan).dump());
  ASSERT_EQ(json["ranks"].size(), 4);
  for (size_t r = 0; r < 4; ++r) {
    const RankPlan& rank = plan.ranks[r];
    EXPECT_EQ(json["ranks"][r]["memory"]["peak"], rank.memory.total());
    EXPECT_EQ(json["ranks"][r]["shards"][1], rank.leaves.end);
    EXPECT_EQ(json["ranks"][r]["wire_bytes"]["sent"], TrafficOfStep(rank.traffic, false).sent_bytes);
    EXPECT_EQ(json["ranks"][r]["traffic"].size(), rank.traffic.size());
  }
}

// Before a matrix is drawn: the layout that it will have.
TEST(RankLayout, IsTheLayoutThatARunBeginsWith) {
  const model::Registry whole(Spec(4));
  const train::RankLayout here(whole, Settings(4, 1, 4), whole);
  const model::Layout layout(whole.numels());
  EXPECT_EQ(here.floats(), layout.floats());
  for (int tensor = 0; tensor < whole.size(); ++tensor) EXPECT_EQ(here.offset(tensor), layout.offset(tensor));
  for (int r = 0; r < 4; ++r) {
    const model::Registry part(Spec(4), {r, 4});
    EXPECT_EQ(train::RankLayout(whole, Settings(4, 1, 4), part).floats(), model::Layout(part.numels()).floats());
  }
}

// Every shared element goes to its owner, or to all.
TEST(RankLayout, PartsOfTheGradientAreAllOfIt) {
  const config::Settings settings = Settings(4, 1, 4);
  const model::Registry whole(Spec(4)), first(Spec(4), {0, 4});
  const std::vector<int> owners = train::OwnersIn(settings, whole, {1, 4});
  const auto sum = [](const std::vector<int64_t>& of) { return std::accumulate(of.begin(), of.end(), int64_t{0}); };
  int64_t shared = 0, owned = 0;
  for (const model::TensorInfo& info : whole.tensors()) {
    shared += first[info.index].shared ? info.numel() : 0;
    owned += first[info.index].shared && owners[info.index] >= 0 ? info.numel() : 0;
  }
  EXPECT_GT(owned, 0);
  EXPECT_GT(shared, owned);
  std::vector<train::GroupGradient> of;
  int64_t sent = 0, received = 0;
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(sum(train::GroupGradientOf(Spec(4), settings, {r, 4}, {}).for_all), shared);
    of.push_back(train::GroupGradientOf(Spec(4), settings, {r, 4}, owners));
    EXPECT_EQ(sum(of[r].for_all), shared - owned);
    sent += sum(of[r].to_owners);
    received += sum(of[r].from);
  }
  EXPECT_EQ(sent, owned);
  EXPECT_EQ(received, owned);
  for (int r = 0; r < 4; ++r) {
    for (int o = 0; o < 4; ++o) EXPECT_EQ(of[r].to_owners[o], of[o].from[r]) << r << " to " << o;
  }
}

}  // namespace
}  // namespace filigree::plan
