// A state that went through a checkpoint: into the same regime bit for bit, into the other one with what the notes say.

#include "worker/train/stored_state.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/train/candidates.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;
using config::Regime;

constexpr int kSequences = 4, kPositions = 21, kVocab = 61;

enum class Start { kSparse, kDense };

config::Settings SettingsOf(Regime regime, Start start) {
  config::Settings settings;
  settings.run.steps = 40;
  settings.run.seed = 5;
  settings.train.batch = kSequences;
  settings.train.shards = 2;
  config::SparsitySettings& s = settings.sparsity;
  s.regime = regime;
  s.density = 0.0625;
  s.embedding_density = 0.1;
  s.density_start = s.embedding_density_start = start == Start::kSparse ? 0.2 : 1;
  s.anneal_start = 0.1;
  s.anneal_end = 0.5;
  s.min_alive = 2;
  s.candidates = 3;
  s.refresh_every = 4;
  settings.optim.warmup = 0.1;
  return settings;
}

model::ModelSpec SmallSpec() {
  model::ModelSpec spec;
  spec.d_model = 48;
  spec.n_layer = 2;
  spec.n_head = 3;
  spec.d_head = 16;
  spec.d_mlp = 81;
  spec.n_ctx = kPositions;
  spec.vocab = kVocab;
  spec.afrac = 0.25;
  for (int place = 0; place < model::kPlaces; ++place) spec.topk[place] = model::kTopKPlaceNames[place] != nullptr;
  spec.sink = spec.bigram = true;
  return spec;
}

bool Kept(const uint64_t* kept, int64_t e) { return kept == nullptr || (kept[e / 64] >> (e % 64) & 1) != 0; }

// A tensor as if it were whole: values, moments, mask, and where values exist.
struct Whole {
  Whole(const TrainState& state, const model::TensorInfo& info) {
    for (std::vector<float>* values : {&w, &m, &v}) values->resize(info.numel());
    kept.resize(info.numel());
    exists.resize(info.numel());
    const kernels::PatternView* set = state.layout->candidates(info.index);
    for (int64_t r = 0; r < info.rows; ++r) {
      const int64_t first = set == nullptr ? r * info.cols : set->row_offsets[r];
      const int64_t last = set == nullptr ? first + info.cols : set->row_offsets[r + 1];
      for (int64_t e = first; e < last; ++e) {
        const int64_t i = set == nullptr ? e : r * info.cols + set->col_indices[e];
        w[i] = state.weights.tensor(info)[e];
        m[i] = state.optimizer.m().tensor(info)[e];
        v[i] = state.optimizer.v().tensor(info)[e];
        kept[i] = Kept(state.masks.kept(info.index), e);
        exists[i] = true;
      }
    }
  }
  std::vector<float> w, m, v;
  std::vector<bool> kept, exists;
};

class StoredStateTest : public testing::Test {
 protected:
  StoredStateTest() : spec_(SmallSpec()), pool_(2) {
    std::string name = testing::TempDir() + "/filigree-stored-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~StoredStateTest() override { fs::remove_all(folder_); }

  std::unique_ptr<TrainState> Begin(const config::Settings& settings) {
    if (settings.sparsity.regime == Regime::kActive) return BeginActive(spec_, settings, pool_);
    auto state = std::make_unique<TrainState>(spec_, settings);
    model::InitialiseWeights(state->registry, static_cast<uint64_t>(settings.run.seed), pool_, state->weights);
    return state;
  }

  void Train(const config::Settings& settings, int64_t until, TrainState& state) {
    Stepper stepper(settings, state, pool_);
    while (state.step < until) {
      testing_support::Rng rng(100 + state.step);
      std::vector<int32_t> tokens(kSequences * kPositions);
      for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(kVocab));
      const absl::StatusOr<StepResult> result = stepper.Step(tokens.data(), kSequences, kPositions);
      ASSERT_TRUE(result.ok() && std::isfinite(result->loss)) << "step " << state.step;
    }
  }

  // Saves the state as of a run with `settings`; `change` may forge what is written.
  template <typename Change>
  void Save(const config::Settings& settings, const TrainState& state, Change change) {
    checkpoint::State view = StoredView(state, static_cast<uint64_t>(settings.run.seed));
    view.texts[checkpoint::texts::kConfig] = config::ToToml(settings);
    change(view);
    const auto saved = checkpoint::SaveFolder(checkpoint::RealFileSystem(), folder_ + "/checkpoint", view);
    ASSERT_TRUE(saved.ok()) << saved.status();
  }
  void Save(const config::Settings& settings, const TrainState& state) {
    Save(settings, state, [](checkpoint::State&) {});
  }

  std::unique_ptr<TrainState> Load(const config::Settings& settings) {
    const auto from = checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), folder_ + "/checkpoint");
    EXPECT_TRUE(from.ok()) << from.status();
    notes_.clear();
    auto state = Restore(*from, spec_, settings, pool_, notes_);
    EXPECT_TRUE(state.ok()) << state.status();
    return *std::move(state);
  }

  std::string Digest(const TrainState& state) { return checkpoint::StateSha256(StoredView(state, 5), 1); }

  bool Said(const std::string& text) const {
    return std::any_of(notes_.begin(), notes_.end(),
                       [&](const std::string& note) { return note.find(text) != std::string::npos; });
  }

  std::vector<model::TensorInfo> Matrices(const TrainState& state) const {
    std::vector<model::TensorInfo> matrices;
    for (const model::TensorInfo& info : state.registry.tensors()) {
      if (MayHaveCandidates(info)) matrices.push_back(info);
    }
    return matrices;
  }

  const model::ModelSpec spec_;
  kernels::ThreadPool pool_;
  std::string folder_;
  std::vector<std::string> notes_;
};

TEST_F(StoredStateTest, ARunGoesOnBitForBitInEitherRegime) {
  constexpr auto kMatrix = config::MaskScope::kMatrix, kGlobal = config::MaskScope::kGlobal;
  for (const Regime regime : {Regime::kActive, Regime::kExact}) {
    for (const auto& [start, scope] : {std::pair(Start::kSparse, kMatrix), std::pair(Start::kDense, kMatrix),
                                       std::pair(Start::kSparse, kGlobal), std::pair(Start::kDense, kGlobal)}) {
      config::Settings settings = SettingsOf(regime, start);
      settings.sparsity.scope = scope;
      const std::unique_ptr<TrainState> state = Begin(settings);
      for (const int64_t at : {0, 3, 11, 18}) {  // before, between and after changes of candidates
        Train(settings, at, *state);
        Save(settings, *state);
        const std::unique_ptr<TrainState> again = Load(settings);
        EXPECT_TRUE(notes_.empty()) << notes_[0];
        EXPECT_EQ(Digest(*again), Digest(*state)) << "step " << at;
        Train(settings, at + 6, *again);
        Train(settings, at + 6, *state);
        EXPECT_EQ(Digest(*again), Digest(*state)) << "six steps after step " << at;
      }
    }
  }
}

TEST_F(StoredStateTest, FromExactToActiveStayTheMaskAndWhatMovedMost) {
  const config::Settings exact = SettingsOf(Regime::kExact, Start::kDense);
  const config::Settings active = SettingsOf(Regime::kActive, Start::kDense);
  const std::unique_ptr<TrainState> state = Begin(exact);
  Train(exact, 17, *state);
  Save(exact, *state);
  const std::unique_ptr<TrainState> dropped = Load(active);
  EXPECT_TRUE(Said("the checkpoint is of the exact regime"));
  EXPECT_TRUE(Said("entries of its matrices exist")) << notes_[0];
  EXPECT_EQ(dropped->step, 17);
  EXPECT_EQ(dropped->position, state->position);
  for (const model::TensorInfo& info : Matrices(*state)) {
    const Whole before(*state, info), after(*dropped, info);
    const int64_t k = state->masks.nonzeros(info.index);
    EXPECT_EQ(dropped->layout->stored(info.index), 3 * k) << info.name;
    EXPECT_EQ(dropped->masks.nonzeros(info.index), k) << info.name;
    EXPECT_EQ(after.kept, before.kept) << info.name;
    double least_inside = HUGE_VAL, most_outside = 0;
    for (int64_t i = 0; i < info.numel(); ++i) {
      const double u = std::abs(before.m[i]) / (std::sqrt(before.v[i]) + active.optim.eps);
      if (!after.exists[i]) {
        most_outside = std::max(most_outside, u);
        continue;
      }
      if (!before.kept[i]) least_inside = std::min(least_inside, u);
      ASSERT_EQ(after.w[i], before.w[i]) << info.name << " " << i;
      ASSERT_EQ(after.m[i], before.m[i]) << info.name << " " << i;
      ASSERT_EQ(after.v[i], before.v[i]) << info.name << " " << i;
    }
    EXPECT_GE(least_inside, most_outside * (1 - 1e-6)) << info.name;  // u was formed in single precision
  }
  Train(active, 24, *dropped);
  EXPECT_EQ(dropped->step, 24);
}

// The mask is that of the last step: so is what sets of matrices that share a threshold have beside it.
TEST_F(StoredStateTest, FromExactToActiveUnderOneThresholdSetsAreThoseOfTheLastStep) {
  config::Settings exact = SettingsOf(Regime::kExact, Start::kDense);
  config::Settings active = SettingsOf(Regime::kActive, Start::kDense);
  exact.sparsity.scope = active.sparsity.scope = config::MaskScope::kGlobal;
  const std::unique_ptr<TrainState> state = Begin(exact);
  Train(exact, 18, *state);  // while f falls
  Save(exact, *state);
  const std::unique_ptr<TrainState> dropped = Load(active);
  std::vector<int64_t> kept;
  for (int t = 0; t < state->registry.size(); ++t) kept.push_back(state->masks.nonzeros(t));
  const std::vector<int64_t> of_last = WantedCandidates(active, state->registry, 17, kept);
  const std::vector<int64_t> of_next = WantedCandidates(active, state->registry, 18, kept);
  int differ = 0;
  for (const model::TensorInfo& info : Matrices(*state)) {
    EXPECT_EQ(dropped->layout->stored(info.index), of_last[info.index]) << info.name;
    differ += of_last[info.index] == of_next[info.index] ? 0 : 1;
  }
  EXPECT_GT(differ, 0);
}

// Where the candidates are still everything, nothing drops yet: that is said, and it happens at a refresh.
TEST_F(StoredStateTest, FromExactToActiveInTheDensePhase) {
  const config::Settings exact = SettingsOf(Regime::kExact, Start::kDense);
  config::Settings active = SettingsOf(Regime::kActive, Start::kDense);
  const std::unique_ptr<TrainState> state = Begin(exact);
  Train(exact, 6, *state);
  Save(exact, *state);
  const std::unique_ptr<TrainState> whole = Load(active);
  EXPECT_TRUE(Said("its matrices are whole as long as")) << notes_.size();
  EXPECT_FALSE(whole->layout->has_candidates());
  EXPECT_EQ(Digest(*whole), Digest(*state));
  Train(active, 24, *whole);
  for (const model::TensorInfo& info : Matrices(*whole)) {
    EXPECT_NE(whole->layout->candidates(info.index), nullptr) << info.name;
  }
  // Without a dense phase they are candidates at once, all of them.
  active.sparsity.dense_phase = false;
  const std::unique_ptr<TrainState> everything = Load(active);
  EXPECT_TRUE(Said("nothing is lost"));
  EXPECT_FALSE(Said("are dropped"));
  for (const model::TensorInfo& info : Matrices(*everything)) {
    ASSERT_NE(everything->layout->candidates(info.index), nullptr) << info.name;
    EXPECT_EQ(everything->layout->stored(info.index), info.numel()) << info.name;
    EXPECT_EQ(Whole(*everything, info).w, Whole(*state, info).w) << info.name;
  }
  Train(active, 9, *everything);
}

// A run that was stopped before its first step is the beginning of either regime.
TEST_F(StoredStateTest, FromExactToActiveBeforeTheFirstStepIsABeginning) {
  const config::Settings exact = SettingsOf(Regime::kExact, Start::kSparse);
  config::Settings active = SettingsOf(Regime::kActive, Start::kSparse);
  Save(exact, *Begin(exact));
  const std::unique_ptr<TrainState> state = Load(active), begun = Begin(active);
  EXPECT_TRUE(Said("entries of its matrices exist"));
  EXPECT_EQ(Digest(*state), Digest(*begun));
  for (const model::TensorInfo& info : Matrices(*state)) {
    EXPECT_EQ(state->masks.nonzeros(info.index), begun->masks.nonzeros(info.index)) << info.name;
  }
}

TEST_F(StoredStateTest, FromActiveToExactTheRestBeginsWithoutMoments) {
  const config::Settings exact = SettingsOf(Regime::kExact, Start::kSparse);
  const config::Settings active = SettingsOf(Regime::kActive, Start::kSparse);
  const std::unique_ptr<TrainState> state = Begin(active);
  Train(active, 11, *state);
  Save(active, *state);
  const std::unique_ptr<TrainState> whole = Load(exact);
  EXPECT_TRUE(Said("the checkpoint is of the active regime: 10 matrices are whole")) << notes_.size();
  EXPECT_FALSE(whole->layout->has_candidates());
  for (const model::TensorInfo& info : Matrices(*state)) {
    const Whole before(*state, info), after(*whole, info);
    EXPECT_EQ(after.w, before.w) << info.name;
    EXPECT_EQ(after.m, before.m) << info.name;
    EXPECT_EQ(after.v, before.v) << info.name;
    EXPECT_EQ(after.kept, before.kept) << info.name;
    EXPECT_EQ(whole->masks.nonzeros(info.index), state->masks.nonzeros(info.index)) << info.name;
  }
  // And back: what was a candidate and moved is one again, as its rank by u has nobody before it but the mask.
  Train(exact, 12, *whole);
  Save(exact, *whole);
  const std::unique_ptr<TrainState> back = Load(active);
  for (const model::TensorInfo& info : Matrices(*whole)) {
    EXPECT_EQ(Whole(*back, info).kept, Whole(*whole, info).kept) << info.name;
    EXPECT_EQ(back->layout->stored(info.index), 3 * whole->masks.nonzeros(info.index)) << info.name;
  }
  Train(active, 16, *back);
}

// A file may claim candidates of any matrix. Those that follow no density are whole in the model, and are read so.
TEST_F(StoredStateTest, ATableThatIsNeverOnCandidatesIsReadWhole) {
  const config::Settings active = SettingsOf(Regime::kActive, Start::kSparse);
  const std::unique_ptr<TrainState> state = Begin(active);
  Train(active, 2, *state);
  const model::TensorInfo& bigram = state->registry[state->registry.bigram()];
  std::vector<uint64_t> diagonal((bigram.numel() + 63) / 64);
  for (int64_t i = 0; i < bigram.rows; ++i)
    diagonal[i * (bigram.cols + 1) / 64] |= uint64_t{1} << (i * (bigram.cols + 1) % 64);
  const kernels::Pattern pattern = kernels::Pattern::FromDenseBitmap(kVocab, kVocab, diagonal.data());
  const kernels::PatternView set = pattern.view();
  Save(active, *state, [&](checkpoint::State& view) {
    for (checkpoint::StateTensor& tensor : view.tensors) {
      if (tensor.name == bigram.name) tensor.candidates = &set;
    }
  });
  const std::unique_ptr<TrainState> again = Load(active);
  EXPECT_EQ(again->layout->candidates(bigram.index), nullptr);
  ASSERT_EQ(again->layout->stored(bigram.index), bigram.numel());
  const float* table = again->weights.tensor(bigram);
  for (int64_t i = 0; i < bigram.numel(); ++i) {
    const bool on = i % (bigram.cols + 1) == 0;
    ASSERT_EQ(table[i], on ? state->weights.tensor(bigram)[i / (bigram.cols + 1)] : 0) << i;
  }
  Train(active, 4, *again);
}

}  // namespace
}  // namespace filigree::train
