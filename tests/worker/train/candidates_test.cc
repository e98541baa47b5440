// How large candidate sets are where fewer entries exist than the mask wants: at the beginning from another model, and
// where a density rises.

#include "worker/train/candidates.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

constexpr int kSequences = 4, kPositions = 21, kVocab = 61;

config::Settings SparseStart() {
  config::Settings settings;
  settings.run.steps = 24;
  settings.train.batch = kSequences;
  settings.train.shards = 2;
  config::SparsitySettings& s = settings.sparsity;
  s.regime = config::Regime::kActive;
  s.density = s.embedding_density = 0.0625;
  s.density_start = s.embedding_density_start = 0.2;
  s.anneal_start = 0.1;
  s.anneal_end = 0.7;
  s.min_alive = 2;
  s.candidates = 3;
  s.refresh_every = 4;
  return settings;
}

model::ModelSpec Spec() {
  model::ModelSpec spec;
  spec.d_model = 48;
  spec.n_layer = 1;
  spec.n_head = 3;
  spec.d_head = 16;
  spec.d_mlp = 81;
  spec.n_ctx = kPositions;
  spec.vocab = kVocab;
  spec.bigram = true;
  return spec;
}

std::vector<int32_t> Tokens(uint64_t seed) {
  testing_support::Rng rng(seed);
  std::vector<int32_t> tokens(kSequences * kPositions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(kVocab));
  return tokens;
}

// A state at its first step with another model's weights, of which only every `stride`-th is not 0: whole, or on those.
std::unique_ptr<TrainState> TakenOver(const config::Settings& settings, int64_t stride, bool whole) {
  const model::Registry registry(Spec());
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  std::vector<model::Layout::Change> changes;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (whole || !MayHaveCandidates(info)) continue;
    std::vector<uint64_t> bits((info.numel() + 63) / 64);
    for (int64_t i = stride - 1; i < info.numel(); i += stride) bits[i / 64] |= uint64_t{1} << (i % 64);
    const auto rows = static_cast<int>(info.rows), cols = static_cast<int>(info.cols);
    changes.push_back({info.index, kernels::Pattern::FromDenseBitmap(rows, cols, bits.data())});
  }
  layout->Apply(std::move(changes));
  auto state = std::make_unique<TrainState>(Spec(), settings, layout);
  for (const model::TensorInfo& info : registry.tensors()) {
    testing_support::Rng rng(1000 + info.index);
    const bool all = whole || !MayHaveCandidates(info);
    float* w = state->weights.tensor(info);
    for (int64_t i = 0, e = 0; i < info.numel(); ++i) {
      const float weight = rng.Normal();
      const bool there = !MayHaveCandidates(info) || i % stride == stride - 1;
      if (all) w[i] = there ? weight : 0;
      if (!all && there) w[e++] = weight;
    }
  }
  return state;
}

TEST(Candidates, TheBeginningIsTheSameHoweverTheModelWasStored) {
  config::Settings settings = SparseStart();
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = 0.08;
  settings.sparsity.candidates = 2;  // of the fifth of a matrix that is not 0, and of every unit
  kernels::ThreadPool pool(2);
  const std::unique_ptr<TrainState> whole = TakenOver(settings, 5, true), sets = TakenOver(settings, 5, false);
  for (TrainState* state : {whole.get(), sets.get()}) ChooseFirstCandidates(settings, pool, *state);
  for (const model::TensorInfo& info : whole->registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const kernels::PatternView* a = whole->layout->candidates(info.index);
    const kernels::PatternView* b = sets->layout->candidates(info.index);
    ASSERT_TRUE(a != nullptr && b != nullptr) << info.name;
    ASSERT_EQ(a->nnz(), b->nnz()) << info.name;
    EXPECT_TRUE(std::equal(a->row_offsets, a->row_offsets + a->rows + 1, b->row_offsets)) << info.name;
    EXPECT_TRUE(std::equal(a->col_indices, a->col_indices + a->nnz(), b->col_indices)) << info.name;
    const float *w = whole->weights.tensor(info), *of_sets = sets->weights.tensor(info);
    EXPECT_TRUE(std::equal(w, w + a->nnz(), of_sets)) << info.name;
  }
}

// The largest of the weights, whatever Adam's epsilon is: below 1e-38 every quotient by it would be infinite.
TEST(Candidates, AtTheBeginningTheyAreTheLargestWeights) {
  config::Settings settings = SparseStart();
  settings.optim.eps = 1e-41;
  kernels::ThreadPool pool(2);
  const std::unique_ptr<TrainState> state = TakenOver(settings, 1, true), source = TakenOver(settings, 1, true);
  ChooseFirstCandidates(settings, pool, *state);
  for (const model::TensorInfo& info : state->registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const kernels::PatternView& p = *state->layout->candidates(info.index);
    ASSERT_LT(p.nnz(), info.numel()) << info.name;
    std::vector<bool> in(info.numel());
    float least_inside = HUGE_VALF, most_outside = 0;
    for (int r = 0; r < p.rows; ++r) {
      for (uint32_t e = p.row_offsets[r]; e < p.row_offsets[r + 1]; ++e) {
        in[static_cast<int64_t>(r) * p.cols + p.col_indices[e]] = true;
        if ((state->masks.kept(info.index)[e / 64] >> (e % 64) & 1) == 0)
          least_inside = std::min(least_inside, std::abs(source->weights.tensor(info)[r * p.cols + p.col_indices[e]]));
      }
    }
    for (int64_t i = 0; i < info.numel(); ++i) {
      if (!in[i]) most_outside = std::max(most_outside, std::abs(source->weights.tensor(info)[i]));
    }
    EXPECT_GE(least_inside, most_outside) << info.name;
  }
}

// Of a model with fewer entries than the mask wants, or none at all, all stay, and the sets make room for the mask.
TEST(Candidates, AModelWithTooFewEntriesGrowsIntoTheDensity) {
  for (const double c : {1.0, 3.0}) {
    config::Settings settings = SparseStart();
    settings.sparsity.candidates = c;
    kernels::ThreadPool pool(2);
    for (const int64_t stride : {11, 1 << 30}) {
      const std::unique_ptr<TrainState> state = TakenOver(settings, stride, false);
      const std::unique_ptr<TrainState> source = TakenOver(settings, stride, true);
      ChooseFirstCandidates(settings, pool, *state);
      for (const model::TensorInfo& info : state->registry.tensors()) {
        if (!MayHaveCandidates(info)) continue;
        const int64_t k = mask::KeptEntries(0.2, info.numel());
        EXPECT_EQ(state->layout->stored(info.index), static_cast<int64_t>(c * static_cast<double>(k))) << info.name;
        EXPECT_EQ(state->masks.nonzeros(info.index), info.numel() / stride) << info.name;
        const kernels::PatternView& p = *state->layout->candidates(info.index);
        double sum = 0, truth = 0;
        for (int64_t e = 0; e < p.nnz(); ++e) sum += std::abs(state->weights.tensor(info)[e]);
        for (int64_t i = 0; i < info.numel(); ++i) truth += std::abs(source->weights.tensor(info)[i]);
        EXPECT_NEAR(sum, truth, 1e-9 * truth) << info.name;
      }
      Stepper stepper(settings, *state, pool);
      ASSERT_TRUE(stepper.Step(Tokens(7).data(), kSequences, kPositions).ok());
      for (const model::TensorInfo& info : state->registry.tensors()) {
        if (!MayHaveCandidates(info)) continue;
        EXPECT_EQ(state->masks.nonzeros(info.index), mask::KeptEntries(0.2, info.numel())) << info.name;
      }
    }
  }
}

TEST(Candidates, WithoutADensePhaseEverythingIsACandidateAtOnce) {
  config::Settings settings = SparseStart();
  settings.sparsity.candidates = 4096;
  settings.sparsity.dense_phase = false;
  kernels::ThreadPool pool(2);
  const std::unique_ptr<TrainState> state = TakenOver(settings, 1, true);
  ChooseFirstCandidates(settings, pool, *state);
  for (const model::TensorInfo& info : state->registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    ASSERT_NE(state->layout->candidates(info.index), nullptr) << info.name;
    EXPECT_EQ(state->layout->stored(info.index), info.numel()) << info.name;
    EXPECT_EQ(state->masks.nonzeros(info.index), mask::KeptEntries(0.2, info.numel())) << info.name;
  }
}

// With no reserve at all only a refresh makes room for what the mask wants.
TEST(Candidates, FollowADensityThatRises) {
  config::Settings settings = SparseStart();
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = 0.03;
  settings.sparsity.density = settings.sparsity.embedding_density = 0.2;
  settings.sparsity.candidates = 1;
  kernels::ThreadPool pool(2);
  const std::unique_ptr<TrainState> state = BeginActive(Spec(), settings, pool);
  Stepper stepper(settings, *state, pool);
  for (int64_t s = 0; s < settings.run.steps; ++s) {
    const int64_t stored = state->layout->stored(state->registry.wte());
    ASSERT_TRUE(stepper.Step(Tokens(s).data(), kSequences, kPositions).ok());
    const mask::Densities f = mask::DensitiesAt(settings.sparsity, settings.run.steps, s);
    for (const model::TensorInfo& info : state->registry.tensors()) {
      if (!MayHaveCandidates(info)) continue;
      const int64_t k = mask::KeptEntries(f.weight, info.numel());
      if (RefreshDue(settings, s)) {
        EXPECT_EQ(state->layout->stored(info.index), k) << info.name << " after step " << s;
      } else {
        EXPECT_LE(state->masks.nonzeros(info.index), k) << info.name << " after step " << s;
      }
      if (info.index == state->registry.wte()) {
        EXPECT_EQ(state->masks.nonzeros(info.index), std::min(k, stored)) << "step " << s;
      }
    }
  }
}

}  // namespace
}  // namespace filigree::train
