// What a plan says that a step moves is what ranks then count, at every step and for every grid.

#include "worker/plan/traffic.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/model/arena.h"
#include "worker/parallel/world.h"
#include "worker/train/candidates.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::plan {
namespace {

using comm::Traffic;
using config::Exchange;
using config::Wire;
using exchange::Accuracy;
using testing_support::kRunPositions;
using testing_support::kRunSequences;

struct Grid {
  const char* name;
  config::Settings settings;
  int64_t shards;
  int data, tensor = 1, tensor_groups = 1;
  bool bigram = false;
};

config::Settings SettingsOf(const Grid& grid) {
  config::Settings settings = grid.settings;
  settings.train.shards = grid.shards;
  settings.parallel.data = grid.data;
  settings.parallel.tensor = grid.tensor;
  settings.model.tensor_groups = grid.tensor_groups;
  settings.model.bigram = grid.bigram;
  return settings;
}

model::ModelSpec SpecOf(const config::Settings& settings) {
  model::ModelSpec spec = testing_support::RunSpec();
  spec.tensor_groups = static_cast<int>(settings.model.tensor_groups);
  spec.bigram = settings.model.bigram;
  spec.d_pos_emb = 4;
  return spec;
}

std::unique_ptr<train::TrainState> Begin(const config::Settings& settings, kernels::ThreadPool& pool) {
  if (settings.sparsity.regime == config::Regime::kActive) return train::BeginActive(SpecOf(settings), settings, pool);
  auto state = std::make_unique<train::TrainState>(SpecOf(settings), settings);
  model::InitialiseWeights(state->registry, settings.run.seed, pool, state->weights);
  return state;
}

// [rank][step]: what the ranks of the grid count.
std::vector<std::vector<Traffic>> Counted(const config::Settings& settings, int ranks, int64_t steps) {
  std::vector<std::vector<Traffic>> counted(ranks);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<train::TrainState> state = Begin(settings, pool);
    train::Stepper stepper(settings, *state, pool, world->get());
    for (int64_t s = 0; s < steps; ++s) {
      const auto result = stepper.Step(testing_support::RunTokens(70 + s).data(), kRunSequences, kRunPositions);
      ASSERT_TRUE(result.ok()) << result.status();
      counted[(*world)->rank()].push_back(result->traffic);
    }
  });
  return counted;
}

void ExpectEqual(const Traffic& said, const Traffic& counted) {
  EXPECT_EQ(said.sent_bytes, counted.sent_bytes) << "sent";
  EXPECT_EQ(said.received_bytes, counted.received_bytes) << "received";
}

void ExpectNear(const Traffic& said, const Traffic& counted, double share) {
  const auto sent = static_cast<double>(counted.sent_bytes), received = static_cast<double>(counted.received_bytes);
  EXPECT_NEAR(static_cast<double>(said.sent_bytes), sent, share * sent);
  EXPECT_NEAR(static_cast<double>(said.received_bytes), received, share * received);
}

// What is left after the exact parts lies between nothing and what is said at most.
void ExpectAtMost(const Traffic& said, const std::vector<TrafficPart>& parts, const Traffic& counted) {
  Traffic exact = said;
  for (const TrafficPart& part : parts) {
    if (part.accuracy == Accuracy::kAtMost) exact = exact - part.traffic;
  }
  EXPECT_LT(exact.sent_bytes, counted.sent_bytes);
  EXPECT_LE(counted.sent_bytes, said.sent_bytes);
  EXPECT_LT(exact.received_bytes, counted.received_bytes);
  EXPECT_LE(counted.received_bytes, said.received_bytes);
}

// The least accurate part's.
Accuracy AccuracyOf(const std::vector<TrafficPart>& parts) {
  Accuracy accuracy = Accuracy::kExact;
  for (const TrafficPart& part : parts) accuracy = std::max(accuracy, part.accuracy);
  return accuracy;
}

bool HasAtMost(const std::vector<TrafficPart>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.accuracy == Accuracy::kAtMost; });
}

// The same where another part is said about: within a tenth of it.
void ExpectBetween(const Traffic& said, const std::vector<TrafficPart>& parts, const Traffic& counted) {
  Traffic least = said, about;
  for (const TrafficPart& part : parts) {
    if (part.accuracy == Accuracy::kAtMost) least = least - part.traffic;
    if (part.accuracy == Accuracy::kAbout) about += part.traffic;
  }
  EXPECT_LT(least.sent_bytes - about.sent_bytes / 10, counted.sent_bytes);
  EXPECT_LE(counted.sent_bytes, said.sent_bytes + about.sent_bytes / 10);
  EXPECT_LT(least.received_bytes - about.received_bytes / 10, counted.received_bytes);
  EXPECT_LE(counted.received_bytes, said.received_bytes + about.received_bytes / 10);
}

class TrafficTest : public testing::TestWithParam<Grid> {};

TEST_P(TrafficTest, IsWhatTheRanksCount) {
  const config::Settings settings = SettingsOf(GetParam());
  const parallel::Grid grid{GetParam().data, GetParam().tensor};
  const model::ModelSpec spec = SpecOf(settings);
  const bool active = settings.sparsity.regime == config::Regime::kActive;
  // Densities fall: of an active run the steps up to its first refresh are like the first one, that one included.
  const int64_t steps = active ? settings.sparsity.refresh_every : 6;
  const std::vector<std::vector<Traffic>> counted = Counted(settings, grid.size(), steps);
  const bool even_share = active && grid.tensor > 1;
  Traffic all_said, all_counted;
  for (int rank = 0; rank < grid.size(); ++rank) {
    SCOPED_TRACE(testing::Message() << "rank " << rank);
    ASSERT_EQ(std::ssize(counted[rank]), steps);
    for (int64_t s = 0; s < steps; ++s) {
      const std::vector<TrafficPart> parts = TrafficOfRank(spec, settings, grid, rank, s);
      const Traffic said = TrafficOfStep(parts, train::RefreshDue(settings, s)), found = counted[rank][s];
      all_said += said;
      all_counted += found;
      if (AccuracyOf(parts) == Accuracy::kAbout && HasAtMost(parts)) {
        ExpectBetween(said, parts, found);
      } else if (AccuracyOf(parts) == Accuracy::kAtMost) {
        ExpectAtMost(said, parts, found);
      } else if (AccuracyOf(parts) == Accuracy::kAbout) {
        ExpectNear(said, found, 0.1);
      } else if (even_share) {
        ExpectNear(said, found, 0.02);  // candidates fall to the ranks of a group as the draw has it
      } else {
        ExpectEqual(said, found);
      }
    }
  }
  EXPECT_GT(all_counted.sent_bytes, 0);
  EXPECT_EQ(all_counted.sent_bytes, all_counted.received_bytes);
  if (even_share && !GetParam().bigram) {
    EXPECT_NEAR(static_cast<double>(all_said.sent_bytes), static_cast<double>(all_counted.sent_bytes),
                1e-3 * static_cast<double>(all_counted.sent_bytes));
  }
}

config::Settings Active(config::Newcomers rule) {
  config::Settings settings = testing_support::ActiveRun(testing_support::Start::kSparse);
  settings.sparsity.newcomers = rule;
  return settings;
}

// Sparse enough that shards propose more than is wanted, as they do in models of any size.
config::Settings Proposals() {
  config::Settings settings = Active(config::Newcomers::kProposals);
  settings.sparsity.density = settings.sparsity.density_start = 0.04;
  return settings;
}

config::Settings Exact() { return testing_support::ExactRun(); }

config::Settings Sum(config::Exchange exchange, config::Wire wire) {
  config::Settings settings = Exact();
  settings.parallel.exchange = exchange;
  settings.parallel.wire = wire;
  return settings;
}

config::Settings Global(config::Settings settings) {
  settings.sparsity.scope = config::MaskScope::kGlobal;
  return settings;
}

INSTANTIATE_TEST_SUITE_P(
    Grids, TrafficTest,
    testing::Values(Grid{"exact_2", Exact(), 4, 2}, Grid{"exact_3", Exact(), 5, 3}, Grid{"exact_4", Exact(), 7, 4},
                    Grid{"exact_1x2", Exact(), 4, 1, 2, 2}, Grid{"exact_1x3", Exact(), 3, 1, 3, 3},
                    Grid{"exact_2x2", Exact(), 5, 2, 2, 4}, Grid{"exact_global_2", Global(Exact()), 4, 2},
                    Grid{"exact_global_4", Global(Exact()), 7, 4},
                    Grid{"exact_global_2x2", Global(Exact()), 5, 2, 2, 4},
                    Grid{"active_global_3", Global(Active(config::Newcomers::kNorms)), 7, 3},
                    Grid{"active_2", Active(config::Newcomers::kNorms), 4, 2},
                    Grid{"active_3", Active(config::Newcomers::kNorms), 7, 3},
                    Grid{"active_proposals_2", Proposals(), 4, 2}, Grid{"active_proposals_3", Proposals(), 7, 3},
                    Grid{"active_random_4", Active(config::Newcomers::kRandom), 6, 4},
                    Grid{"active_1x2", Active(config::Newcomers::kNorms), 4, 1, 2, 2},
                    Grid{"active_2x2", Active(config::Newcomers::kNorms), 4, 2, 2, 2},
                    Grid{"bigram_2", Exact(), 4, 2, 1, 1, true}, Grid{"bigram_3", Exact(), 7, 3, 1, 1, true},
                    Grid{"bigram_2x2", Exact(), 3, 2, 2, 2, true},
                    Grid{"bf16_3", Sum(Exchange::kTree, Wire::kBf16), 5, 3},
                    Grid{"bf16_bigram_2", Sum(Exchange::kTree, Wire::kBf16), 4, 2, 1, 1, true},
                    Grid{"dense_2", Sum(Exchange::kDense, Wire::kFp32), 4, 2, 1, 1, true},
                    Grid{"dense_3", Sum(Exchange::kDense, Wire::kFp32), 4, 3, 1, 1, true},
                    Grid{"topk_3", Sum(Exchange::kTopK, Wire::kFp32), 4, 3},
                    Grid{"balanced_3", Sum(Exchange::kBalanced, Wire::kFp32), 4, 3},
                    Grid{"balanced_bf16_4", Sum(Exchange::kBalanced, Wire::kBf16), 4, 4},
                    Grid{"bf16_bigram_4", Sum(Exchange::kTree, Wire::kBf16), 4, 4, 1, 1, true},
                    Grid{"topk_bf16_2", Sum(Exchange::kTopK, Wire::kBf16), 4, 2, 1, 1, true}),
    [](const auto& param) { return param.param.name; });

TEST(Traffic, OfARankAloneIsNone) { EXPECT_TRUE(TrafficOfRank(SpecOf(Exact()), Exact(), parallel::Grid{}, 0).empty()); }

}  // namespace
}  // namespace filigree::plan
