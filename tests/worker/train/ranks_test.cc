// Training on grids of data x tensor ranks: after every step all of them hold the bits of a rank alone, in both
// regimes.

#include "tests/support/ranks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_run.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/arena.h"
#include "worker/parallel/world.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/candidates.h"
#include "worker/train/state.h"
#include "worker/train/step.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

using testing_support::kRunPositions;
using testing_support::kRunSequences;
using testing_support::RunTokens;

model::ModelSpec SpecOf(const config::Settings& settings) {
  model::ModelSpec spec = testing_support::RunSpec();
  spec.tensor_groups = static_cast<int>(settings.model.tensor_groups);
  spec.activation_storage = settings.model.activation_storage;
  return spec;
}

std::unique_ptr<TrainState> BeginState(const config::Settings& settings, kernels::ThreadPool& pool) {
  if (settings.sparsity.regime == config::Regime::kActive) {
    return BeginActive(SpecOf(settings), settings, pool);
  }
  auto state = std::make_unique<TrainState>(SpecOf(settings), settings);
  model::InitialiseWeights(state->registry, settings.run.seed, pool, state->weights);
  return state;
}

struct Outcome {
  std::vector<double> losses, norms;
  // After every fourth step and of every tensor: weights and masks, and the moments, empty where another rank has them.
  std::vector<std::string> digests, moments;
};

void TakeDigests(const TrainState& state, const Ownership& ownership, uint64_t seed, Outcome& outcome) {
  checkpoint::State whole = StoredView(state, seed);
  for (size_t t = 0; t < whole.tensors.size(); ++t) {
    checkpoint::State one;
    checkpoint::StateTensor tensor = std::exchange(whole.tensors[t], {});
    const float *m = std::exchange(tensor.m, nullptr), *v = std::exchange(tensor.v, nullptr);
    one.tensors = {tensor};
    outcome.digests.push_back(checkpoint::StateSha256(one, 1));
    one.tensors[0].weight = m;
    one.tensors[0].kept = nullptr;
    std::string moments = checkpoint::StateSha256(one, 1);
    one.tensors[0].weight = v;
    moments += checkpoint::StateSha256(one, 1);
    outcome.moments.push_back(ownership.Updates(static_cast<int>(t)) ? moments : "");
  }
}

// Who has moments has those of a rank alone; and of every tensor somebody does.
void ExpectTheMomentsOf(const Outcome& alone, const std::vector<Outcome>& ranks) {
  for (size_t i = 0; i < alone.moments.size(); ++i) {
    int holders = 0;
    for (const Outcome& mine : ranks) {
      if (mine.moments[i].empty()) continue;
      ++holders;
      EXPECT_EQ(mine.moments[i], alone.moments[i]) << "tensor and step " << i;
    }
    EXPECT_GT(holders, 0) << "tensor and step " << i;
  }
}

// So small that every layer of these models is a bucket.
constexpr int64_t kSmallBuckets = 4096;

Outcome Train(config::Settings settings, parallel::World* world, int threads,
              config::Overlap overlap = config::Overlap::kOn) {
  settings.parallel.overlap = overlap;
  kernels::ThreadPool pool(threads);
  const std::unique_ptr<TrainState> state = BeginState(settings, pool);
  Stepper stepper(settings, *state, pool, world, kSmallBuckets);
  Outcome outcome;
  for (int64_t s = 0; s < settings.run.steps; ++s) {
    const absl::StatusOr<StepResult> result = stepper.Step(RunTokens(70 + s).data(), kRunSequences, kRunPositions);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return outcome;
    outcome.losses.push_back(result->loss);
    outcome.norms.push_back(result->gradient_norm);
    if (s % 4 == 3 || s + 1 == settings.run.steps) {
      TakeDigests(*state, stepper.ownership(), settings.run.seed, outcome);
    }
  }
  return outcome;
}

TEST(Overlap, GoesWhereALinkIsWaitedForOrACoreIsFree) {
  using config::Overlap;
  EXPECT_FALSE(GoesBesideBackward(Overlap::kAuto, /*hosts=*/1, /*spare_cores=*/false));
  EXPECT_TRUE(GoesBesideBackward(Overlap::kAuto, 1, true));
  EXPECT_TRUE(GoesBesideBackward(Overlap::kAuto, 2, false));
  EXPECT_TRUE(GoesBesideBackward(Overlap::kOn, 1, false));
  EXPECT_FALSE(GoesBesideBackward(Overlap::kOff, 2, true));
}

struct Grid {
  const char* name;
  config::Settings settings;
  int64_t shards;
  int ranks;  // data * tensor
  int tensor = 1, tensor_groups = 1;
};

class RanksTest : public testing::TestWithParam<Grid> {};

TEST_P(RanksTest, EndInTheBitsOfARankAlone) {
  config::Settings settings = GetParam().settings;
  settings.train.shards = GetParam().shards;
  settings.parallel.tensor = GetParam().tensor;
  settings.model.tensor_groups = GetParam().tensor_groups;
  const Outcome alone = Train(settings, nullptr, 2);
  std::vector<Outcome> ranks(GetParam().ranks);
  testing_support::RunRanks(GetParam().ranks, [&](std::unique_ptr<comm::Transport> transport) {
    absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    Outcome& mine = ranks[(*world)->rank()];
    mine = Train(settings, world->get(), 1);
    EXPECT_EQ(mine.losses, alone.losses) << "rank " << (*world)->rank();
    EXPECT_EQ(mine.norms, alone.norms);
    EXPECT_EQ(mine.digests, alone.digests);
  });
  ExpectTheMomentsOf(alone, ranks);
  const bool exact = settings.sparsity.regime == config::Regime::kExact;
  const bool by_matrix = settings.sparsity.scope == config::MaskScope::kMatrix;
  const bool owned = exact || (GetParam().tensor > 1 && by_matrix);
  const auto missing = [](const Outcome& mine) { return std::count(mine.moments.begin(), mine.moments.end(), ""); };
  for (const Outcome& mine : ranks) EXPECT_EQ(missing(mine) > 0, owned) << "matrices have owners";
}

// Nor is it taken for an infinite one.
TEST(RanksThatShareAModel, ALossThatIsNoNumberIsNoneOnEveryRank) {
  config::Settings settings = testing_support::ExactRun();
  settings.model.tensor_groups = settings.parallel.tensor = 2;
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<TrainState> state = BeginState(settings, pool);
    state->weights.tensor(state->registry[state->registry.layer(0).ln_1])[0] = std::nanf("");
    Stepper stepper(settings, *state, pool, world->get());
    const auto result = stepper.Step(RunTokens(70).data(), kRunSequences, kRunPositions);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(std::isnan(result->loss)) << result->loss;
    EXPECT_EQ(state->step, 0);
  });
}

config::Settings Newcomers(config::Newcomers rule) {
  config::Settings settings = testing_support::ActiveRun(testing_support::Start::kSparse);
  settings.sparsity.newcomers = rule;
  return settings;
}

config::Settings Global(config::Settings settings) {
  settings.sparsity.scope = config::MaskScope::kGlobal;
  return settings;
}

INSTANTIATE_TEST_SUITE_P(Grids, RanksTest,
                         testing::Values(Grid{"exact_2", testing_support::ExactRun(), 4, 2},
                                         Grid{"exact_3", testing_support::ExactRun(), 5, 3},
                                         Grid{"exact_4", testing_support::ExactRun(), 4, 4},
                                         Grid{"exact_7", testing_support::ExactRun(), 7, 7},
                                         Grid{"active_2", Newcomers(config::Newcomers::kNorms), 4, 2},
                                         Grid{"active_3", Newcomers(config::Newcomers::kNorms), 7, 3},
                                         Grid{"active_4", Newcomers(config::Newcomers::kNorms), 6, 4},
                                         Grid{"exact_1x2", testing_support::ExactRun(), 4, 2, 2, 2},
                                         Grid{"exact_2x2", testing_support::ExactRun(), 4, 4, 2, 4},
                                         Grid{"exact_1x3", testing_support::ExactRun(), 4, 3, 3, 3},
                                         Grid{"active_1x2", Newcomers(config::Newcomers::kNorms), 4, 2, 2, 2},
                                         Grid{"active_2x2", Newcomers(config::Newcomers::kNorms), 4, 4, 2, 4},
                                         Grid{"active_proposals_2", Newcomers(config::Newcomers::kProposals), 4, 2},
                                         Grid{"active_proposals_3", Newcomers(config::Newcomers::kProposals), 7, 3},
                                         Grid{"active_proposals_4", Newcomers(config::Newcomers::kProposals), 4, 4},
                                         Grid{"active_1x4", Newcomers(config::Newcomers::kRandom), 4, 4, 4, 4},
                                         Grid{"active_from_dense_1x2",
                                              testing_support::ActiveRun(testing_support::Start::kDense), 4, 2, 2, 2},
                                         Grid{"active_random_2", Newcomers(config::Newcomers::kRandom), 4, 2},
                                         Grid{"active_from_dense_2",
                                              testing_support::ActiveRun(testing_support::Start::kDense), 4, 2}),
                         [](const auto& param) { return param.param.name; });

config::Settings Bf16(config::Settings settings) {
  settings.model.activation_storage = config::ActivationStorage::kBf16;
  return settings;
}

config::Settings WithoutAReserve() {
  config::Settings settings = Newcomers(config::Newcomers::kNorms);
  settings.sparsity.candidates = 1;  // what is stored has no mask
  return settings;
}

config::Settings SparseBiases(config::Settings settings) {
  settings.sparsity.biases = config::Biases::kSparse;
  return settings;
}

INSTANTIATE_TEST_SUITE_P(
    SharingAModel, RanksTest,
    testing::Values(Grid{"no_reserve_1x2", WithoutAReserve(), 4, 2, 2, 2},
                    Grid{"sparse_biases_1x2", SparseBiases(testing_support::ExactRun()), 4, 2, 2, 2},
                    Grid{"sparse_biases_active_2x2", SparseBiases(Newcomers(config::Newcomers::kNorms)), 4, 4, 2, 4}),
    [](const auto& param) { return param.param.name; });

INSTANTIATE_TEST_SUITE_P(ActivationsAsBf16, RanksTest,
                         testing::Values(Grid{"exact_3", Bf16(testing_support::ExactRun()), 5, 3},
                                         Grid{"exact_2x2", Bf16(testing_support::ExactRun()), 4, 4, 2, 4},
                                         Grid{"active_2x2", Bf16(Newcomers(config::Newcomers::kNorms)), 4, 4, 2, 4}),
                         [](const auto& param) { return param.param.name; });

INSTANTIATE_TEST_SUITE_P(
    GlobalScope, RanksTest,
    testing::Values(Grid{"exact_2", Global(testing_support::ExactRun()), 4, 2},
                    Grid{"exact_3", Global(testing_support::ExactRun()), 5, 3},
                    Grid{"exact_4", Global(testing_support::ExactRun()), 4, 4},
                    Grid{"exact_7", Global(testing_support::ExactRun()), 7, 7},
                    Grid{"exact_1x2", Global(testing_support::ExactRun()), 4, 2, 2, 2},
                    Grid{"exact_2x2", Global(testing_support::ExactRun()), 4, 4, 2, 4},
                    Grid{"active_2", Global(Newcomers(config::Newcomers::kNorms)), 4, 2},
                    Grid{"active_3", Global(Newcomers(config::Newcomers::kNorms)), 7, 3},
                    Grid{"active_proposals_2", Global(Newcomers(config::Newcomers::kProposals)), 4, 2},
                    Grid{"active_1x2", Global(Newcomers(config::Newcomers::kNorms)), 4, 2, 2, 2},
                    Grid{"active_2x2", Global(Newcomers(config::Newcomers::kNorms)), 4, 4, 2, 4},
                    Grid{"active_from_dense_2", Global(testing_support::ActiveRun(testing_support::Start::kDense)), 4,
                         2},
                    Grid{"active_everything_1x2",
                         Global(testing_support::ActiveRun(testing_support::Start::kEverything)), 4, 2, 2, 2}),
    [](const auto& param) { return param.param.name; });

// Rounded or partial sums: a function of the grid.
struct Lossy {
  const char* name;
  config::Settings settings;
  int ranks, tensor;
  config::Exchange exchange;
  config::Wire wire;
};

class LossyRanksTest : public testing::TestWithParam<Lossy> {};

std::vector<Outcome> TrainRanks(const config::Settings& settings, int ranks, config::Overlap overlap) {
  std::vector<Outcome> outcomes(ranks);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    const int rank = (*world)->rank();
    outcomes[rank] = Train(settings, world->get(), 1 + rank % 2, overlap);
  });
  return outcomes;
}

TEST_P(LossyRanksTest, StayTheSameAndComeOutTheSameAgain) {
  config::Settings settings = GetParam().settings;
  settings.parallel.tensor = settings.model.tensor_groups = GetParam().tensor;
  settings.parallel.exchange = GetParam().exchange;
  settings.parallel.wire = GetParam().wire;
  settings.parallel.topk_share = 0.2;
  const Outcome alone = Train(settings, nullptr, 1);
  const std::vector<Outcome> ranks = TrainRanks(settings, GetParam().ranks, config::Overlap::kOn);
  for (const Outcome& mine : ranks) {
    EXPECT_EQ(mine.losses, ranks[0].losses);
    EXPECT_EQ(mine.digests, ranks[0].digests);
  }
  EXPECT_EQ(ranks[0].losses[0], alone.losses[0]) << "nothing was summed yet";
  // With one data-parallel rank nothing is rounded; the tree over ranks is that over shards where each has one.
  const bool loses = GetParam().ranks > GetParam().tensor && GetParam().exchange != config::Exchange::kDense;
  EXPECT_EQ(ranks[0].digests != alone.digests, loses);
  // The other time all gradients go after backward, which changes nothing.
  const std::vector<Outcome> again = TrainRanks(settings, GetParam().ranks, config::Overlap::kOff);
  for (size_t r = 0; r < ranks.size(); ++r) {
    EXPECT_EQ(again[r].digests, ranks[r].digests);
    EXPECT_EQ(again[r].moments, ranks[r].moments);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, LossyRanksTest,
                         testing::Values(Lossy{"exact_2_bf16", testing_support::ExactRun(), 2, 1,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"exact_3_global_bf16", Global(testing_support::ExactRun()), 3, 1,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"active_3_bf16", Newcomers(config::Newcomers::kNorms), 3, 1,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"active_2x2_bf16", Newcomers(config::Newcomers::kNorms), 4, 2,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"active_1x2_bf16", Newcomers(config::Newcomers::kNorms), 2, 2,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"active_from_dense_2_bf16",
                                               testing_support::ActiveRun(testing_support::Start::kDense), 2, 1,
                                               config::Exchange::kTree, config::Wire::kBf16},
                                         Lossy{"active_3_dense", Newcomers(config::Newcomers::kNorms), 3, 1,
                                               config::Exchange::kDense, config::Wire::kFp32},
                                         Lossy{"active_2_topk", Newcomers(config::Newcomers::kNorms), 2, 1,
                                               config::Exchange::kTopK, config::Wire::kFp32},
                                         Lossy{"active_3_balanced_bf16", Newcomers(config::Newcomers::kNorms), 3, 1,
                                               config::Exchange::kBalanced, config::Wire::kBf16}),
                         [](const auto& param) { return param.param.name; });

TEST(Ranks, OracleRulesRefuseWithWhatToTake) {
  const config::Settings settings = Newcomers(config::Newcomers::kVotes);
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<TrainState> state = BeginState(settings, pool);
    Stepper stepper(settings, *state, pool, world->get());
    absl::Status last;
    for (int64_t s = 0; s < settings.sparsity.refresh_every && last.ok(); ++s) {
      last = stepper.Step(RunTokens(s).data(), kRunSequences, kRunPositions).status();
    }
    EXPECT_EQ(last.code(), absl::StatusCode::kUnimplemented) << last;
  });
}

}  // namespace
}  // namespace filigree::train
