// sparsity.scope "global": one threshold over the matrices of all layers, step by step in both regimes, and how their
// owners agree on it.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/mask/density.h"
#include "worker/mask/mask_set.h"
#include "worker/mask/min_alive.h"
#include "worker/train/candidates.h"
#include "worker/train/ownership.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

using model::TensorInfo;
using testing_support::kRunPositions;
using testing_support::kRunSequences;
using testing_support::RunSpec;
using testing_support::RunTokens;
using testing_support::Start;

config::Settings Global(config::Settings settings) {
  settings.sparsity.scope = config::MaskScope::kGlobal;
  return settings;
}

struct Trained {
  explicit Trained(const config::Settings& with, int threads = 2)
      : settings(with), pool(threads), state(Begin()), stepper(settings, *state, pool) {}
  StepResult Step() { return stepper.Step(RunTokens(100 + state->step).data(), kRunSequences, kRunPositions).value(); }

  std::unique_ptr<TrainState> Begin() {
    if (settings.sparsity.regime == config::Regime::kActive) return BeginActive(RunSpec(), settings, pool);
    auto whole = std::make_unique<TrainState>(RunSpec(), settings);
    model::InitialiseWeights(whole->registry, settings.run.seed, pool, whole->weights);
    return whole;
  }

  config::Settings settings;
  kernels::ThreadPool pool;
  std::unique_ptr<TrainState> state;
  Stepper stepper;
};

bool Shares(const TensorInfo& info) { return info.density == model::Density::kWeight; }

// Entries kept in every unit, and candidates of it.
struct Unit {
  int64_t kept = 0, candidates = 0;
};
std::vector<Unit> UnitsOf(const TrainState& state, const TensorInfo& info) {
  std::vector<Unit> units(mask::UnitsOf(info));
  const kernels::PatternView* p = state.layout->candidates(info.index);
  const uint64_t* kept = state.masks.kept(info.index);
  for (int64_t r = 0, e = 0; r < info.rows; ++r) {
    const int64_t end = p == nullptr ? (r + 1) * info.cols : p->row_offsets[r + 1];
    for (; e < end; ++e) {
      Unit& unit = units[info.unit == kernels::Unit::kRow ? r : p == nullptr ? e % info.cols : p->col_indices[e]];
      ++unit.candidates;
      unit.kept += kept == nullptr || (kept[e / 64] >> (e % 64) & 1) != 0 ? 1 : 0;
    }
  }
  return units;
}

// What must hold after step s: the sum of all k, exactly; every unit alive; outside the masks nothing.
void CheckMasks(const Trained& run, int64_t s) {
  const TrainState& state = *run.state;
  const mask::Densities f = mask::DensitiesAt(run.settings.sparsity, run.settings.run.steps, s);
  int64_t k = 0, kept = 0, nonzero = 0;
  for (const TensorInfo& info : state.registry.tensors()) {
    if (info.density == model::Density::kEmbedding) {
      EXPECT_EQ(state.masks.nonzeros(info.index), mask::KeptEntries(f.embedding, info.numel())) << info.name;
    }
    if (!Shares(info)) continue;
    const int64_t own = mask::KeptEntries(f.weight, info.numel()), stored = state.layout->stored(info.index);
    k += own;
    kept += state.masks.nonzeros(info.index);
    const float* w = state.weights.tensor(info);
    nonzero += std::count_if(w, w + stored, [](float x) { return x != 0; });
    const int64_t j = mask::EffectiveMinAlive(info, own, run.settings.sparsity.min_alive).j;
    for (const Unit& unit : UnitsOf(state, info)) {
      ASSERT_GE(unit.kept, std::min(j, unit.candidates)) << info.name;
      ASSERT_GE(unit.candidates, RefreshDue(run.settings, s) ? j : 0) << info.name;
    }
  }
  EXPECT_EQ(kept, k) << "step " << s;
  EXPECT_LE(nonzero, k);
}

// After a refresh: every matrix has its share and the reserve of its own k, so that all together are as many as ever.
void CheckSets(const Trained& run, int64_t s) {
  const TrainState& state = *run.state;
  const double c = run.settings.sparsity.candidates;
  const mask::Densities f = mask::DensitiesAt(run.settings.sparsity, run.settings.run.steps, s);
  int64_t stored = 0, most = 0;
  for (const TensorInfo& info : state.registry.tensors()) {
    if (!Shares(info)) continue;
    const int64_t k = mask::KeptEntries(f.weight, info.numel());
    const auto own = std::min(info.numel(), static_cast<int64_t>(c * static_cast<double>(k)));
    const int64_t share = state.masks.nonzeros(info.index);
    const int64_t wanted = own == info.numel() ? own : std::min(info.numel(), share + own - k);
    EXPECT_EQ(state.layout->stored(info.index), wanted) << info.name << " after step " << s;
    stored += wanted;
    most += own;
  }
  EXPECT_LE(stored, most);
}

int MovedShares(const Trained& run) {
  const mask::Densities f = mask::DensitiesAt(run.settings.sparsity, run.settings.run.steps, run.state->step - 1);
  int moved = 0;
  for (const TensorInfo& info : run.state->registry.tensors()) {
    if (!Shares(info)) continue;
    moved += run.state->masks.nonzeros(info.index) != mask::KeptEntries(f.weight, info.numel()) ? 1 : 0;
  }
  return moved;
}

struct Case {
  const char* name;
  config::Settings settings;
};

class GlobalScopeTest : public testing::TestWithParam<Case> {};

TEST_P(GlobalScopeTest, AllMatricesTogetherKeepTheSumOfTheirK) {
  Trained run(Global(GetParam().settings));
  for (int64_t s = 0; s < run.settings.run.steps; ++s) {
    const StepResult result = run.Step();
    ASSERT_TRUE(std::isfinite(result.loss)) << "step " << s;
    CheckMasks(run, s);
    if (result.refreshed) CheckSets(run, s);
  }
  EXPECT_GT(MovedShares(run), 2) << "matrices that keep more or less than their own k";
}

TEST_P(GlobalScopeTest, ThreadsChangeNoBit) {
  Trained one(Global(GetParam().settings), 1), three(Global(GetParam().settings), 3);
  for (int64_t s = 0; s < one.settings.run.steps; ++s) {
    ASSERT_EQ(one.Step().loss, three.Step().loss) << "step " << s;
    ASSERT_EQ(one.state->weights.size(), three.state->weights.size());
    for (const TensorInfo& info : one.state->registry.tensors()) {
      const int64_t stored = one.state->layout->stored(info.index);
      ASSERT_EQ(three.state->layout->stored(info.index), stored) << info.name;
      const float *a = one.state->weights.tensor(info), *b = three.state->weights.tensor(info);
      ASSERT_EQ(std::memcmp(a, b, stored * sizeof(float)), 0) << info.name << ", step " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, GlobalScopeTest,
                         testing::Values(Case{"exact", testing_support::ExactRun()},
                                         Case{"active_sparse", testing_support::ActiveRun(Start::kSparse)},
                                         Case{"active_dense", testing_support::ActiveRun(Start::kDense)},
                                         Case{"active_everything", testing_support::ActiveRun(Start::kEverything)}),
                         [](const auto& param) { return param.param.name; });

// Drawn sparse, taken from a whole model, or cut out of a dense draw: the same weights and candidates.
TEST(GlobalScope, ABeginningIsTheSameHoweverItIsMade) {
  const config::Settings settings = Global(testing_support::ActiveRun(Start::kSparse));
  kernels::ThreadPool pool(2);
  const std::unique_ptr<TrainState> drawn = BeginActive(RunSpec(), settings, pool);
  TrainState whole(RunSpec(), settings);
  model::InitialiseWeights(whole.registry, settings.run.seed, pool, whole.weights);
  model::Arena dense(whole.registry);
  std::memcpy(dense.data(), whole.weights.data(), dense.size() * sizeof(float));
  mask::MaskSet masks(whole.registry, settings.sparsity.min_alive, config::Biases::kDense, config::MaskScope::kGlobal);
  masks.Update({0.2, 0.2}, 1, pool, dense);
  ChooseFirstCandidates(settings, pool, whole);
  for (const TensorInfo& info : whole.registry.tensors()) {
    const kernels::PatternView *a = drawn->layout->candidates(info.index), *b = whole.layout->candidates(info.index);
    ASSERT_EQ(a == nullptr, b == nullptr) << info.name;
    if (a == nullptr) continue;
    ASSERT_EQ(a->nnz(), b->nnz()) << info.name;
    EXPECT_EQ(std::memcmp(a->col_indices, b->col_indices, a->nnz() * sizeof(uint16_t)), 0) << info.name;
    const float *w = drawn->weights.tensor(info), *taken = whole.weights.tensor(info);
    EXPECT_EQ(std::memcmp(w, taken, a->nnz() * sizeof(float)), 0) << info.name;
    EXPECT_EQ(drawn->masks.nonzeros(info.index), masks.nonzeros(info.index)) << info.name;
    for (int r = 0; r < a->rows; ++r) {
      for (uint32_t e = a->row_offsets[r]; e < a->row_offsets[r + 1]; ++e) {
        ASSERT_EQ(w[e], dense.tensor(info)[r * info.cols + a->col_indices[e]]) << info.name;
      }
    }
  }
}

// Weights with ties, zeros and layers of other sizes.
void FillHard(const model::Registry& registry, uint64_t seed, model::Arena& weights) {
  testing_support::Rng rng(seed);
  for (const TensorInfo& info : registry.tensors()) {
    const auto scale = static_cast<float>(1 + info.index % 3);
    float* w = weights.tensor(info);
    for (int64_t i = 0; i < info.numel(); ++i) w[i] = scale * std::round(rng.Normal() * 4) / 4;
  }
}

// Masks chosen by owners, each of his own matrices alone, beside those of a rank that has them all.
void ExpectTheMasksOfARankAlone(int ranks, int64_t min_alive) {
  config::Settings settings = Global(testing_support::ExactRun());
  const model::Registry registry(RunSpec());
  const std::vector<mask::Densities> densities = {{1, 1}, {0.7, 0.5}, {0.2, 0.3}, {0.19, 0.3}, {0.05, 0.1}};
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    const std::vector<int> owners = OwnersIn(settings, registry, {ranks, 1});
    Ownership ownership(owners, data, nullptr);
    kernels::ThreadPool pool(1 + data.rank() % 2);
    mask::MaskSet alone(registry, min_alive, config::Biases::kDense, config::MaskScope::kGlobal);
    mask::MaskSet masks(registry, min_alive, config::Biases::kDense, config::MaskScope::kGlobal);
    for (size_t step = 0; step < densities.size(); ++step) {
      SCOPED_TRACE("rank " + std::to_string(data.rank()) + " of " + std::to_string(ranks) + ", seed " +
                   std::to_string(50 + step) + ", min alive " + std::to_string(min_alive));
      model::Arena expected(registry), mine(registry);
      FillHard(registry, 50 + step, expected);
      for (const TensorInfo& info : registry.tensors()) {  // others' matrices are theirs alone
        if (ownership.Updates(info.index)) std::copy_n(expected.tensor(info), info.numel(), mine.tensor(info));
      }
      alone.Update(densities[step], 0.9f, pool, expected);
      ASSERT_TRUE(ownership.ChooseMasks(densities[step], 0.9f, pool, mine, masks).ok());
      ASSERT_TRUE(ownership.GatherWeights(densities[step], registry, pool, mine, masks).ok());
      for (const TensorInfo& info : registry.tensors()) {
        ASSERT_EQ(masks.nonzeros(info.index), alone.nonzeros(info.index)) << info.name;
        EXPECT_EQ(std::memcmp(mine.tensor(info), expected.tensor(info), info.numel() * sizeof(float)), 0) << info.name;
        const uint64_t *a = masks.kept(info.index), *b = alone.kept(info.index);
        ASSERT_EQ(a == nullptr, b == nullptr) << info.name;
        if (a == nullptr) continue;
        EXPECT_EQ(std::memcmp(a, b, (info.numel() + 63) / 64 * sizeof(uint64_t)), 0) << info.name;
      }
    }
  });
}

TEST(GlobalScope, OwnersAgreeOnTheMasksOfARankAlone) {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (const int64_t min_alive : {0, 2, 100}) ExpectTheMasksOfARankAlone(ranks, min_alive);
  }
}

}  // namespace
}  // namespace filigree::train
