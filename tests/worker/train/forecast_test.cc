// What a run is said to need, against what it then holds step by step where matrices are compressed, exist on
// candidates, leave their dense phase or lie on several ranks.
//
// Slack, derived: arrays of sparse forms are given up to a quarter more than is written (kernels/csr/csr.h), groups of
// candidates up to 1.5 bytes a candidate of which an eighth is added; of activations the bits of AbsTopK and norms,
// 1/10 at most, are left out; small arrays have padding.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_model.h"
#include "worker/parallel/world.h"
#include "worker/train/candidates.h"
#include "worker/train/memory.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

constexpr int kSequences = 4;

model::ModelSpec Spec() {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.d_model = 64;
  spec.n_head = 4;
  spec.d_head = 16;
  spec.d_mlp = 256;
  spec.n_ctx = 32;
  spec.vocab = 512;
  spec.d_pos_emb = 0;
  return spec;
}

config::Settings Settings(config::Regime regime, double start, double end) {
  config::Settings settings;
  settings.sparsity.regime = regime;
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = start;
  settings.sparsity.density = settings.sparsity.embedding_density = end;
  settings.sparsity.refresh_every = 3;
  settings.sparsity.candidates = 4;
  settings.sparsity.anneal_end = 0.8;
  settings.run.steps = 30;
  settings.run.threads = 1;
  settings.eval.every = settings.sample.every = 0;
  settings.train.batch = kSequences;
  settings.train.shards = 2;
  return settings;
}

std::unique_ptr<TrainState> Begin(const model::ModelSpec& spec, const config::Settings& settings,
                                  kernels::ThreadPool& pool) {
  if (settings.sparsity.regime == config::Regime::kActive) return BeginActive(spec, settings, pool);
  auto state = std::make_unique<TrainState>(spec, settings);
  model::InitialiseWeights(state->registry, 1, pool, state->weights);
  return state;
}

// But for gradients, which tests of the tree are for, and what is gone between steps.
int64_t Held(TrainState& state, Stepper& stepper) {
  size_t bytes = stepper.network().bytes() + state.masks.bytes();
  bytes += sizeof(float) * (state.weights.size() + state.optimizer.m().size() + state.optimizer.v().size());
  for (int t = 0; t < state.registry.size(); ++t) {
    const kernels::PatternView* set = state.layout->candidates(t);
    if (set != nullptr) bytes += 2 * set->nnz() + 4 * (set->rows + 1);
  }
  return static_cast<int64_t>(bytes);
}

int64_t Said(const RunMemory& memory) { return memory.steady() - memory.gradients; }

int64_t Slack(const RunMemory& memory) {
  constexpr int64_t kPadding = 20000;
  return (memory.sets + memory.masks) / 4 + 2 * memory.candidates + memory.activations / 10 + kPadding;
}

// Held after every step of a run.
std::vector<int64_t> HeldByARun(const model::ModelSpec& spec, const config::Settings& settings) {
  kernels::ThreadPool pool(1);
  const std::unique_ptr<TrainState> state = Begin(spec, settings, pool);
  Stepper stepper(settings, *state, pool);
  const std::vector<int32_t> tokens(kSequences * spec.n_ctx, 1);
  std::vector<int64_t> held;
  while (state->step < settings.run.steps) {
    EXPECT_TRUE(stepper.Step(tokens.data(), kSequences, spec.n_ctx).ok());
    held.push_back(Held(*state, stepper));
  }
  return held;
}

struct Case {
  const char* name;
  config::Regime regime;
  double start, end, candidates;
};

class ForecastTest : public testing::TestWithParam<Case> {};

TEST_P(ForecastTest, IsWhatTheWorstStepHolds) {
  const Case& c = GetParam();
  const model::ModelSpec spec = Spec();
  config::Settings settings = Settings(c.regime, c.start, c.end);
  settings.sparsity.candidates = c.candidates;
  const std::vector<int64_t> held = HeldByARun(spec, settings);
  const int64_t most = *std::max_element(held.begin(), held.end());
  const RunMemory said = MemoryOfRun(spec, settings);
  EXPECT_LE(Said(said), most) << "step " << said.step;
  EXPECT_LE(most, said.total() - said.gradients + Slack(said)) << "step " << said.step;
  // From the worst step on the forecast is of that step alone, without what a change takes on its way.
  const auto worst = std::max_element(held.begin(), held.end()) - held.begin();
  const RunMemory there = MemoryOfRun(spec, settings, worst);
  EXPECT_LE(Said(there), most) << "step " << there.step << ", from " << worst;
  EXPECT_LE(most, Said(there) + Slack(there)) << "step " << there.step << ", from " << worst;
}

constexpr auto kExact = config::Regime::kExact, kActive = config::Regime::kActive;
INSTANTIATE_TEST_SUITE_P(Runs, ForecastTest,
                         testing::Values(Case{"exact", kExact, 1, 1.0 / 16, 4},
                                         Case{"exact, sparse from the start", kExact, 1.0 / 16, 1.0 / 16, 4},
                                         Case{"active, starts sparse", kActive, 1.0 / 8, 1.0 / 16, 4},
                                         Case{"active, small reserve", kActive, 1.0 / 4, 1.0 / 16, 1.25},
                                         Case{"active, starts dense", kActive, 1, 1.0 / 16, 4},
                                         Case{"active, starts dense, small reserve", kActive, 1, 1.0 / 16, 1.25}));

// The peak of a run that starts dense is where its dense phase ends, and a run that has it behind itself needs less.
TEST(Forecast, OfARunThatStartsDenseIsOfTheEndOfItsDensePhase) {
  const model::ModelSpec spec = Spec();
  const config::Settings settings = Settings(kActive, 1, 1.0 / 16);
  const model::Registry registry(spec);
  const model::TensorInfo& matrix = registry[registry.layer(0).c_fc];
  int64_t leaves = 0;
  while (CandidatesBefore(settings, matrix, leaves) == 0) ++leaves;
  const RunMemory all = MemoryOfRun(spec, settings), last = MemoryOfRun(spec, settings, settings.run.steps - 1);
  EXPECT_GE(all.step, leaves - 1);
  EXPECT_LE(all.step, leaves);
  config::Settings first = settings;  // the same for as long as nothing changes
  first.run.steps = 1;
  EXPECT_GT(all.total(), MemoryOfRun(spec, first).total() * 5 / 4);
  EXPECT_LT(last.total(), all.total() * 3 / 4);
  EXPECT_EQ(last.step, settings.run.steps - 1);
  EXPECT_EQ(MemoryOfRun(spec, settings, settings.run.steps).total(), last.total());  // over
}

// Every rank has a part of the candidates that depends on the weights drawn: at this size a tenth more or less.
TEST(Forecast, OfRanksThatShareTheModelIsWhatTheirPassesHold) {
  for (const config::Regime regime : {kExact, kActive}) {
    model::ModelSpec spec = Spec();
    spec.tensor_groups = 2;
    config::Settings settings = Settings(regime, 1.0 / 16, 1.0 / 16);
    settings.model.tensor_groups = settings.parallel.tensor = 2;
    testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
      absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Make(settings, std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      kernels::ThreadPool pool(1);
      const std::unique_ptr<TrainState> state = Begin(spec, settings, pool);
      Stepper stepper(settings, *state, pool, world->get());
      const std::vector<int32_t> tokens(kSequences * spec.n_ctx, 1);
      ASSERT_TRUE(stepper.Step(tokens.data(), kSequences, spec.n_ctx).ok());
      const RunMemory said = MemoryOfRank(spec, settings, (*world)->grid(), (*world)->rank());
      const auto passes = static_cast<double>(said.sets + said.masks + said.activations + said.scratch + said.passed);
      const auto held = static_cast<double>(stepper.network().bytes() + state->masks.bytes());
      EXPECT_LE(passes, 1.1 * held);
      EXPECT_LE(held, passes + static_cast<double>(Slack(said)) + 0.1 * static_cast<double>(said.sets));
    });
  }
}

}  // namespace
}  // namespace filigree::train
