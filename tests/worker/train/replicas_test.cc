// One wrong bit on one rank is found at the next update and named, and an undisturbed run is never accused.

#include "worker/train/replicas.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/model/arena.h"
#include "worker/train/candidates.h"
#include "worker/train/flip.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

using testing::HasSubstr;

struct Flip {
  const char* name;
  void (*change)(const Ownership&, TrainState&);
  const char* component;
};

struct Case {
  Flip flip;
  int ranks;
  bool active;
  int tensor = 1;
};

class ReplicasTest : public testing::TestWithParam<Case> {};

std::unique_ptr<TrainState> BeginState(const config::Settings& settings, kernels::ThreadPool& pool) {
  model::ModelSpec spec = testing_support::RunSpec();
  spec.tensor_groups = static_cast<int>(settings.model.tensor_groups);
  if (settings.sparsity.regime == config::Regime::kActive) return BeginActive(spec, settings, pool);
  auto state = std::make_unique<TrainState>(spec, settings);
  model::InitialiseWeights(state->registry, settings.run.seed, pool, state->weights);
  return state;
}

TEST_P(ReplicasTest, AWrongBitIsFoundAtTheNextUpdateAndItsRankNamed) {
  const Case& param = GetParam();
  config::Settings settings =
      param.active ? testing_support::ActiveRun(testing_support::Start::kSparse) : testing_support::ExactRun();
  settings.train.shards = 4;
  settings.model.tensor_groups = settings.parallel.tensor = param.tensor;
  testing_support::RunRanks(param.ranks, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<TrainState> state = BeginState(settings, pool);
    Stepper stepper(settings, *state, pool, world->get());
    const int guilty = param.ranks - 1;
    absl::Status status;
    for (int64_t s = 0; s < settings.run.steps && status.ok(); ++s) {
      if (s == 7 && (*world)->rank() == guilty) param.flip.change(stepper.ownership(), *state);
      status = stepper
                   .Step(testing_support::RunTokens(s).data(), testing_support::kRunSequences,
                         testing_support::kRunPositions)
                   .status();
    }
    EXPECT_EQ(state->step, 7);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank " + std::to_string(guilty)));
    EXPECT_THAT(std::string(status.message()), HasSubstr(param.flip.component));
    EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("rank 0")));
  });
}

// Of a tensor that all ranks update, whatever the regime.
void FlipDenseMoment(const Ownership& ownership, TrainState& state) {
  const int gain = state.registry.layer(0).ln_1;
  ASSERT_EQ(ownership.owner(gain), -1);
  state.optimizer.v().tensor(state.registry[gain])[0] += 1;
}

constexpr Flip kWeight{"weight", FlipWeight, "weights"}, kMoment{"moment", FlipMoment, "first moments"},
    kMask{"mask", FlipMask, "mask"}, kDenseMoment{"dense_moment", FlipDenseMoment, "second moments of transformer.h.0"};

INSTANTIATE_TEST_SUITE_P(Flips, ReplicasTest,
                         testing::Values(Case{kWeight, 2, false}, Case{kMoment, 3, false}, Case{kMoment, 2, false},
                                         Case{kDenseMoment, 3, false}, Case{kMask, 4, false}, Case{kWeight, 4, true},
                                         Case{kMoment, 2, true}, Case{kMask, 3, true}, Case{kMoment, 4, true, 2},
                                         Case{kMoment, 2, false, 2}, Case{kWeight, 4, false, 2},
                                         Case{kMask, 2, true, 2}),
                         [](const auto& param) {
                           return std::string(param.param.flip.name) + "_" + std::to_string(param.param.ranks) +
                                  (param.param.active ? "_active" : "_exact") + "_tensor" +
                                  std::to_string(param.param.tensor);
                         });

// Two groups that share a model: an update that comes out differently in one of them, of a moment that only one rank of
// each group has.
TEST(Replicas, MomentsOfOwnersAreComparedBetweenGroups) {
  config::Settings settings = testing_support::ActiveRun(testing_support::Start::kSparse);
  settings.train.shards = 4;
  settings.model.tensor_groups = settings.parallel.tensor = 2;
  testing_support::RunRanks(4, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<TrainState> state = BeginState(settings, pool);
    const Ownership ownership(OwnersIn(settings, state->registry, (*world)->grid()), (*world)->tensor(), nullptr);
    Replicas replicas(*state, {nullptr, &state->registry, &ownership}, pool, **world);
    replicas.Remember();
    EXPECT_TRUE(replicas.Check().ok());
    if ((*world)->rank() == 3) FlipMoment(ownership, *state);
    replicas.Remember();
    const absl::Status status = replicas.Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the state of ranks 1, 3 is in doubt"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("first moments"));
  });
}

// Most of them were taken while the update had the values in cache; with owners, candidates that change, and a dense
// phase that ends.
TEST(Replicas, WhatAnUpdateLeftIsWhatAllOfTheStateSays) {
  const config::Settings dense_first = testing_support::ActiveRun(testing_support::Start::kDense);
  config::Settings sharing = testing_support::ActiveRun(testing_support::Start::kSparse);
  sharing.model.tensor_groups = sharing.parallel.tensor = 2;
  for (config::Settings settings : {testing_support::ExactRun(), dense_first,
                                    testing_support::ActiveRun(testing_support::Start::kSparse), sharing}) {
    settings.train.shards = 4;
    testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
      const auto world = parallel::World::Make(settings, std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      kernels::ThreadPool pool(3);
      const std::unique_ptr<TrainState> state = BeginState(settings, pool);
      Stepper stepper(settings, *state, pool, world->get());
      for (int64_t s = 0; s < settings.run.steps; ++s) {
        const auto step = stepper.Step(testing_support::RunTokens(s).data(), testing_support::kRunSequences,
                                       testing_support::kRunPositions);
        ASSERT_TRUE(step.ok()) << step.status();
        const auto all = DigestsOf(*state, pool, stepper.ownership().owners());
        ASSERT_EQ(all.size(), stepper.left().size());
        for (size_t t = 0; t < all.size(); ++t) {
          for (int c = 0; c < exchange::kComponents; ++c) {
            EXPECT_EQ(stepper.left()[t].of[c], all[t].of[c])
                << "step " << s << ": " << exchange::Name(static_cast<exchange::Component>(c)) << " of " << all[t].name;
          }
        }
      }
    });
  }
}

TEST(Replicas, AWrongBitOfAnUnsentGradientIsFoundAtTheNextUpdate) {
  config::Settings settings = testing_support::ActiveRun(testing_support::Start::kSparse);
  settings.parallel.wire = config::Wire::kBf16;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    kernels::ThreadPool pool(1);
    const std::unique_ptr<TrainState> state = BeginState(settings, pool);
    Stepper stepper(settings, *state, pool, world->get());
    absl::Status status;
    for (int64_t s = 0; s < settings.run.steps && status.ok(); ++s) {
      if (s == 8 && (*world)->rank() == 1) {  // the candidates have just changed
        const int64_t at = stepper.residual()->known().offset(state->registry.wte());
        stepper.residual()->values()[at + 3] += 1;
      }
      status = stepper
                   .Step(testing_support::RunTokens(s).data(), testing_support::kRunSequences,
                         testing_support::kRunPositions)
                   .status();
    }
    EXPECT_EQ(state->step, 8);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("the unsent gradient of transformer.wte.weight"));
  });
}

}  // namespace
}  // namespace filigree::train
