// The active regime as a whole: what exists, what is masked, what a refresh leaves, and the same bits for any number of
// threads.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_run.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/train/candidates.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

using testing_support::ActiveRun;
using testing_support::kRunPositions;
using testing_support::kRunSequences;
using testing_support::RunSpec;
using testing_support::RunTokens;
using testing_support::Start;

struct Trained {
  explicit Trained(const config::Settings& with, int threads = 2)
      : settings(with), pool(threads), state(BeginActive(RunSpec(), settings, pool)), stepper(settings, *state, pool) {}
  StepResult Step() { return stepper.Step(RunTokens(100 + state->step).data(), kRunSequences, kRunPositions).value(); }

  config::Settings settings;
  kernels::ThreadPool pool;
  std::unique_ptr<TrainState> state;
  Stepper stepper;
};

bool IsMatrix(const model::TensorInfo& info) {
  return info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
}

bool Kept(const uint64_t* kept, int64_t e) { return kept == nullptr || (kept[e / 64] >> (e % 64) & 1) != 0; }

// What must hold of every matrix after step s.
void CheckMatrix(const Trained& run, const model::TensorInfo& info, int64_t s) {
  const TrainState& state = *run.state;
  const mask::Densities f = mask::DensitiesAt(run.settings.sparsity, run.settings.run.steps, s);
  const double density = info.density == model::Density::kEmbedding ? f.embedding : f.weight;
  const int64_t k = mask::KeptEntries(density, info.numel()), stored = state.layout->stored(info.index);
  EXPECT_EQ(state.masks.nonzeros(info.index), std::min(k, stored)) << info.name;
  const kernels::PatternView* candidates = state.layout->candidates(info.index);
  if (candidates == nullptr) return;
  EXPECT_TRUE(kernels::IsSound(*candidates)) << info.name;
  const float* w = state.weights.tensor(info);
  int64_t kept = 0;
  for (int64_t e = 0; e < stored; ++e) {
    kept += Kept(state.masks.kept(info.index), e);
    if (!Kept(state.masks.kept(info.index), e)) {
      EXPECT_EQ(w[e], 0) << info.name << " reserve " << e;
    }
  }
  EXPECT_EQ(kept, std::min(k, stored)) << info.name;
  if (!RefreshDue(run.settings, s)) return;
  EXPECT_EQ(stored,
            std::min(static_cast<int64_t>(run.settings.sparsity.candidates * static_cast<double>(k)), info.numel()))
      << info.name;
  const int64_t j = mask::EffectiveMinAlive(info, k, run.settings.sparsity.min_alive).j;
  std::vector<int64_t> of_unit(std::max<int64_t>(mask::UnitsOf(info), 1));
  for (int r = 0; r < candidates->rows; ++r) {
    for (uint32_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; ++e) {
      if (info.unit == kernels::Unit::kNone) continue;
      ++of_unit[info.unit == kernels::Unit::kRow ? r : candidates->col_indices[e]];
    }
  }
  if (info.unit == kernels::Unit::kNone) return;
  EXPECT_GE(*std::min_element(of_unit.begin(), of_unit.end()), j) << info.name;
}

class ActiveTest : public testing::TestWithParam<Start> {};

TEST_P(ActiveTest, EveryStepKeepsExactlyItsDensityAndNothingInTheReserve) {
  Trained run(ActiveRun(GetParam()));
  int refreshes = 0;
  for (int64_t s = 0; s < run.settings.run.steps; ++s) {
    const StepResult result = run.Step();
    ASSERT_TRUE(std::isfinite(result.loss)) << "step " << s;
    refreshes += result.refreshed;
    for (const model::TensorInfo& info : run.state->registry.tensors()) {
      if (IsMatrix(info)) CheckMatrix(run, info, s);
    }
  }
  EXPECT_EQ(refreshes, 6);
}

TEST_P(ActiveTest, TheSameBitsForAnyNumberOfThreads) {
  const config::Settings settings = ActiveRun(GetParam());
  Trained one(settings, 1);
  for (int64_t s = 0; s < settings.run.steps; ++s) one.Step();
  for (const int threads : {2, 3}) {
    Trained many(settings, threads);
    for (int64_t s = 0; s < settings.run.steps; ++s) many.Step();
    ASSERT_EQ(many.state->layout->floats(), one.state->layout->floats());
    for (const model::TensorInfo& info : one.state->registry.tensors()) {
      const int64_t n = one.state->layout->stored(info.index);
      ASSERT_EQ(many.state->layout->stored(info.index), n);
      const auto same = [&](const model::Arena& a, const model::Arena& b) {
        return std::memcmp(a.tensor(info), b.tensor(info), n * sizeof(float)) == 0;
      };
      EXPECT_TRUE(same(one.state->weights, many.state->weights)) << info.name << ", " << threads << " threads";
      EXPECT_TRUE(same(one.state->optimizer.m(), many.state->optimizer.m())) << info.name;
      EXPECT_TRUE(same(one.state->optimizer.v(), many.state->optimizer.v())) << info.name;
      const kernels::PatternView* a = one.state->layout->candidates(info.index);
      const kernels::PatternView* b = many.state->layout->candidates(info.index);
      ASSERT_EQ(a == nullptr, b == nullptr);
      if (a != nullptr) {
        EXPECT_EQ(std::memcmp(a->col_indices, b->col_indices, n * sizeof(uint16_t)), 0) << info.name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Starts, ActiveTest, testing::Values(Start::kSparse, Start::kDense, Start::kEverything));

TEST(Active, ARunThatStartsSparseKeepsTheLargestOfTheDenseDraw) {
  const config::Settings settings = ActiveRun(Start::kSparse);
  const Trained run(settings);
  const TrainState& state = *run.state;
  model::Arena dense(state.registry);
  kernels::ThreadPool pool(1);
  model::InitialiseWeights(state.registry, 5, pool, dense);
  mask::MaskSet masks(state.registry, settings.sparsity.min_alive, config::Biases::kDense);
  masks.Update({0.2, 0.2}, 1, pool, dense);
  for (const model::TensorInfo& info : state.registry.tensors()) {
    const float* ours = state.weights.tensor(info);
    const float* truth = dense.tensor(info);
    const kernels::PatternView* candidates = state.layout->candidates(info.index);
    if (!IsMatrix(info)) {
      EXPECT_EQ(std::memcmp(ours, truth, info.numel() * sizeof(float)), 0) << info.name;
      continue;
    }
    ASSERT_NE(candidates, nullptr) << info.name;
    std::vector<float> spread(info.numel());
    for (int r = 0; r < candidates->rows; ++r) {
      for (uint32_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; ++e) {
        spread[r * info.cols + candidates->col_indices[e]] = ours[e];
      }
    }
    EXPECT_EQ(std::memcmp(spread.data(), truth, info.numel() * sizeof(float)), 0) << info.name;
  }
}

TEST(Active, ADensePhaseEndsMatrixByMatrixWhenCandidatesAreFewer) {
  Trained run(ActiveRun(Start::kDense));
  EXPECT_FALSE(run.state->layout->has_candidates());
  const int64_t whole = run.state->layout->floats();
  for (int64_t s = 0; s < run.settings.run.steps; ++s) run.Step();
  for (const model::TensorInfo& info : run.state->registry.tensors()) {
    EXPECT_EQ(run.state->layout->candidates(info.index) != nullptr, IsMatrix(info)) << info.name;
  }
  EXPECT_LT(run.state->layout->floats(), whole);
}

TEST(Active, NewcomersBeginWithoutMoments) {
  Trained run(ActiveRun(Start::kSparse));
  for (int s = 0; s < 3; ++s) run.Step();
  std::vector<std::vector<bool>> before(run.state->registry.size());
  const auto positions = [&](const model::TensorInfo& info) {
    const kernels::PatternView& p = *run.state->layout->candidates(info.index);
    std::vector<bool> at(info.numel());
    for (int r = 0; r < p.rows; ++r) {
      for (uint32_t e = p.row_offsets[r]; e < p.row_offsets[r + 1]; ++e) at[r * info.cols + p.col_indices[e]] = true;
    }
    return at;
  };
  for (const model::TensorInfo& info : run.state->registry.tensors()) {
    if (IsMatrix(info)) before[info.index] = positions(info);
  }
  ASSERT_TRUE(run.Step().refreshed);
  int64_t newcomers = 0;
  for (const model::TensorInfo& info : run.state->registry.tensors()) {
    if (!IsMatrix(info)) continue;
    const kernels::PatternView& p = *run.state->layout->candidates(info.index);
    for (int r = 0; r < p.rows; ++r) {
      for (uint32_t e = p.row_offsets[r]; e < p.row_offsets[r + 1]; ++e) {
        if (before[info.index][r * info.cols + p.col_indices[e]]) continue;
        ++newcomers;
        EXPECT_EQ(run.state->optimizer.m().tensor(info)[e], 0);
        EXPECT_EQ(run.state->optimizer.v().tensor(info)[e], 0);
        EXPECT_EQ(run.state->weights.tensor(info)[e], 0);
      }
    }
  }
  EXPECT_GT(newcomers, 100);
}

// The gradient on candidates is the dense gradient at those positions, up to the rounding of sums over tokens.
TEST(Active, TheGradientIsTheDenseOneWhereItExists) {
  const Trained run(ActiveRun(Start::kSparse));
  const TrainState& state = *run.state;
  model::Arena dense(state.registry), dense_gradient(state.registry), gradient(state.layout);
  for (const model::TensorInfo& info : state.registry.tensors()) {
    const kernels::PatternView* p = state.layout->candidates(info.index);
    const float* w = state.weights.tensor(info);
    if (p == nullptr) {
      std::copy_n(w, info.numel(), dense.tensor(info));
      continue;
    }
    for (int r = 0; r < p->rows; ++r) {
      for (uint32_t e = p->row_offsets[r]; e < p->row_offsets[r + 1]; ++e) {
        dense.tensor(info)[r * info.cols + p->col_indices[e]] = w[e];
      }
    }
  }
  kernels::ThreadPool pool(2);
  const std::vector<int32_t> tokens = RunTokens(77);
  const model::Network::Batch batch{tokens.data(), kRunSequences, kRunPositions};
  model::Network whole(state.spec, state.registry, pool), sparse(state.spec, state.registry, pool);
  whole.SetWeights(dense);
  sparse.SetWeights(
      state.weights, [&](int t) { return state.masks.kept(t); }, [&](int t) { return state.masks.nonzeros(t); });
  const double truth = whole.LossAndGradient(batch, 1, model::Network::Write::kOverwrite, dense_gradient);
  const double loss = sparse.LossAndGradient(batch, 1, model::Network::Write::kOverwrite, gradient);
  EXPECT_NEAR(loss, truth, 1e-6 * truth);
  for (const model::TensorInfo& info : state.registry.tensors()) {
    const kernels::PatternView* p = state.layout->candidates(info.index);
    const float* ours = gradient.tensor(info);
    const float* all = dense_gradient.tensor(info);
    double error = 0, norm = 0;
    const auto add = [&](double a, double b) {
      error += (a - b) * (a - b);
      norm += b * b;
    };
    if (p == nullptr) {
      for (int64_t i = 0; i < info.numel(); ++i) add(ours[i], all[i]);
    } else {
      for (int r = 0; r < p->rows; ++r) {
        for (uint32_t e = p->row_offsets[r]; e < p->row_offsets[r + 1]; ++e) {
          add(ours[e], all[r * info.cols + p->col_indices[e]]);
        }
      }
    }
    // Both round like a sum over at most 126 tokens, through two layers: some hundred half ulps.
    EXPECT_LE(std::sqrt(error), 256 * 0x1p-24 * std::sqrt(norm)) << info.name;
  }
}

}  // namespace
}  // namespace filigree::train
