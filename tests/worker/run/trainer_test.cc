// The loop around the step, where a stop comes at a moment that a signal would hit only by luck; and what a run refuses
// or says before its first step.

#include "worker/run/trainer.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/worker/run/small_corpus.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/ticking_files.h"
#include "worker/config/load.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;

class TrainerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = ::testing::TempDir() + "/filigree-trainer-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    const absl::Status prepared = testing_support::PrepareSmallCorpus(folder_);
    ASSERT_TRUE(prepared.ok()) << prepared;
    std::ofstream(folder_ + "/none.toml") << "";
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  // Each test has a run folder of its own.
  std::string RunDir(const std::string& suffix = "") const {
    return folder_ + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + suffix;
  }

  absl::StatusOr<OpenedRun> OpenSmall(std::vector<std::string> changes, const std::string& run_dir) const {
    std::vector<std::string> overrides = {"run.dir=" + run_dir, "data.dir=" + folder_ + "/data",
                                          "run.steps=4",        "run.threads=1",
                                          "model.d_model=32",   "model.n_layer=1",
                                          "model.n_ctx=16",     "train.batch=2",
                                          "train.shards=2",     "eval.every=1",
                                          "sample.tokens=8",    "sample.every=0"};
    overrides.insert(overrides.end(), changes.begin(), changes.end());
    return OpenRun(folder_ + "/none.toml", overrides);
  }

  // Trains until the stop is asked for the n-th time, counted from 1.
  absl::StatusOr<RunEnd> TrainUntil(OpenedRun& run, int n) const {
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    int asked = 0;
    options.stop_requested = [&asked, n] { return ++asked >= n; };
    return Trainer(run, options).Run();
  }

  static std::string Log(const std::string& run_dir) {
    std::ifstream in(run_dir + "/steps.jsonl");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  inline static std::string folder_;
};

TEST_F(TrainerTest, AStopBeforeTheFirstStepLeavesACheckpointToGoOnFrom) {
  {
    auto run = OpenSmall({}, RunDir());
    ASSERT_TRUE(run.ok()) << run.status();
    const auto end = TrainUntil(*run, 1);
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(*end, RunEnd::kStopped);
    EXPECT_EQ(run->state->step, 0);
  }
  auto again = OpenSmall({}, RunDir());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->resumed);
  EXPECT_EQ(again->state->step, 0);
  const auto end = TrainUntil(*again, 1 << 30);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, RunEnd::kDone);
}

TEST_F(TrainerTest, AnEvaluationThatAStopBreaksOffIsNotLogged) {
  auto run = OpenSmall({"eval.sequences=40"}, RunDir());
  ASSERT_TRUE(run.ok()) << run.status();
  const auto end = TrainUntil(*run, 3);  // before the step, after 16 windows, after 32 windows
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, RunEnd::kStopped);
  EXPECT_EQ(run->state->step, 1);
  const std::string log = Log(RunDir());
  EXPECT_FALSE(Has(log, "\"kind\":\"eval\"")) << log;
  EXPECT_TRUE(Has(log, "broken off")) << log;
  EXPECT_TRUE(Has(log, "\"kind\":\"checkpoint\"")) << log;
}

TEST_F(TrainerTest, ASampleThatAStopBreaksOffIsNotLogged) {
  auto run = OpenSmall({"eval.every=0", "sample.every=1", "sample.tokens=1000"}, RunDir());
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_TRUE(TrainUntil(*run, 3).ok());
  EXPECT_FALSE(Has(Log(RunDir()), "\"kind\":\"sample\""));
}

TEST_F(TrainerTest, ActivationsAsBf16GoOnToTheSameBitsAndTheOtherStorageIsSaid) {
  struct End {
    std::string state;
    int64_t step;
    std::string notes;
  };
  const auto train = [&](const std::string& storage, const std::string& run_dir, int until) -> End {
    auto run = OpenSmall({"model.activation_storage=" + storage}, run_dir);
    EXPECT_TRUE(run.ok()) << run.status();
    EXPECT_TRUE(run.ok() && TrainUntil(*run, until).ok());
    const auto& state = run->state;
    return {checkpoint::StateSha256(StoredView(*state, 1), 1), state->step, fmt::format("{}", run->notes)};
  };
  constexpr int kToTheEnd = 1 << 30;
  const End whole = train("bf16", RunDir("-whole"), kToTheEnd);
  const End stopped = train("bf16", RunDir("-stopped"), 5);
  ASSERT_GT(stopped.step, 0);
  ASSERT_LT(stopped.step, whole.step);
  fs::copy(RunDir("-stopped"), RunDir("-other"), fs::copy_options::recursive);
  const End again = train("bf16", RunDir("-stopped"), kToTheEnd);
  EXPECT_EQ(again.state, whole.state);
  EXPECT_FALSE(Has(again.notes, "kept activations as")) << again.notes;
  const End other = train("fp32", RunDir("-other"), kToTheEnd);
  EXPECT_TRUE(Has(other.notes, "kept activations as bf16: from here on they are fp32")) << other.notes;
  EXPECT_NE(other.state, whole.state);
  EXPECT_NE(train("fp32", RunDir("-fp32"), kToTheEnd).state, whole.state);
}

// Ranks that round what they send: how often one of them is asked to stop before all do, and where each state ends.
class RanksOfARun {
 public:
  RanksOfARun(const std::string& data, const std::string& run_dir, int ranks, int tensor = 1) {
    settings_.run.dir = run_dir;
    settings_.data.dir = data;
    settings_.run.steps = 9;
    settings_.run.threads = 1;
    settings_.model.d_model = 32;
    settings_.model.n_layer = 1;
    settings_.model.n_ctx = 16;
    settings_.model.tensor_groups = 2;
    settings_.train.batch = 6;
    settings_.train.shards = 3;
    settings_.eval.every = settings_.sample.every = 0;
    settings_.sparsity.regime = config::Regime::kActive;
    settings_.sparsity.density_start = settings_.sparsity.embedding_density_start = 0.2;
    settings_.sparsity.candidates = 2;
    settings_.sparsity.refresh_every = 2;
    settings_.sparsity.min_alive = 1;
    settings_.sparsity.dense_phase = false;
    settings_.parallel.wire = config::Wire::kBf16;
    settings_.parallel.tensor = tensor;
    config::Resolve(settings_);
    states_.resize(ranks);
  }

  config::Settings& settings() { return settings_; }

  // Stops after so many steps; the last rank's weights are changed just before if `flip` says so.
  void TrainTo(int64_t steps, bool flip = false) {
    testing_support::RunRanks(static_cast<int>(states_.size()), [&](std::unique_ptr<comm::Transport> transport) {
      const auto world = parallel::World::Make(settings_, std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      auto run = OpenRun(settings_, world->get(), {.program = "program"});
      ASSERT_TRUE(run.ok()) << run.status();
      TrainerOptions options;
      options.output = telemetry::Output::kQuiet;
      options.world = world->get();
      const bool last = (*world)->rank() + 1 == (*world)->size();
      options.stop_requested = [&run, steps, flip, last] {
        if (flip && last && run->state->step == steps) run->state->weights.data()[3] += 1;
        return run->state->step >= steps;
      };
      Trainer trainer(*run, options);
      const auto end = trainer.Run();
      EXPECT_EQ(trainer.replicas_differ(), flip);
      ASSERT_EQ(end.ok(), !flip) << end.status();
      states_[(*world)->rank()] = checkpoint::StateSha256(Held(*run->state), 1);
    });
  }
  const std::vector<std::string>& states() const { return states_; }

 private:
  // What a rank has of a state: of what others own only the weights.
  static checkpoint::State Held(const TrainState& state) {
    checkpoint::State held = StoredView(state, 1);
    static const std::vector<float> kNone(1 << 20);
    for (int t = 0; t < state.registry.size(); ++t) {
      if (!state.HoldsMoments(t)) held.tensors[t].m = held.tensors[t].v = kNone.data();
    }
    return held;
  }

  config::Settings settings_;
  std::vector<std::string> states_;
};

TEST_F(TrainerTest, RanksThatRoundGoOnFromACheckpointAsIfNothingHadBeen) {
  for (const int tensor : {1, 2}) {
    const std::string name = RunDir(std::to_string(tensor));
    RanksOfARun undisturbed(folder_ + "/data", name + "-whole", 2 * tensor, tensor);
    undisturbed.TrainTo(9);
    RanksOfARun stopped(folder_ + "/data", name + "-stopped", 2 * tensor, tensor);
    for (const int64_t steps : {3, 4, 9}) stopped.TrainTo(steps);  // just before and after a refresh
    EXPECT_EQ(stopped.states(), undisturbed.states());
    EXPECT_EQ(stopped.states().front() == stopped.states().back(), tensor == 1) << "others have other moments";
  }
}

// A host whose copy of a checkpoint is damaged.
class DamagedFiles : public checkpoint::TickingFiles {
 public:
  explicit DamagedFiles(std::string part) : TickingFiles(checkpoint::RealFileSystem(), [] {}), part_(std::move(part)) {}
  absl::StatusOr<std::unique_ptr<checkpoint::ReadableFile>> OpenForRead(const std::string& path) override {
    if (path.find(part_) != std::string::npos) return absl::DataLossError(path + " was cut");
    return TickingFiles::OpenForRead(path);
  }

 private:
  const std::string part_;
};

// One that does not see the run's files at all.
class BlindFiles : public checkpoint::TickingFiles {
 public:
  BlindFiles() : TickingFiles(checkpoint::RealFileSystem(), [] {}) {}
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return absl::NotFoundError(path + " is not there");
  }
};

TEST_F(TrainerTest, RanksGoOnFromTheNewestCheckpointThatAllOfThemCanRead) {
  RanksOfARun ranks(folder_ + "/data", RunDir(), 2);
  for (const int64_t steps : {2, 4}) ranks.TrainTo(steps);
  // Opens the run on two ranks, of which the second sees its files through `files`.
  const auto open = [&](checkpoint::FileSystem& files,
                        const std::function<void(const absl::StatusOr<OpenedRun>&)>& look) {
    testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
      const auto world = parallel::World::Make(ranks.settings(), std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      OpenOptions options{.program = "program"};
      if ((*world)->rank() == 1) options.files = &files;
      look(OpenRun(ranks.settings(), world->get(), std::move(options)));
    });
  };
  DamagedFiles damaged("step-0000000004");
  open(damaged, [](const absl::StatusOr<OpenedRun>& run) {
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->state->step, 2);
    const std::string notes = fmt::format("{}", fmt::join(run->notes, "\n"));
    EXPECT_TRUE(Has(notes, "cannot read the checkpoint of step 4, so all go back to 2")) << notes;
    EXPECT_TRUE(Has(notes, "rank 1 on ")) << notes;
    EXPECT_TRUE(Has(notes, "was cut")) << notes;
  });
  // Nor does the run begin anew where one of them sees none.
  BlindFiles blind;
  open(blind, [](const absl::StatusOr<OpenedRun>& run) {
    EXPECT_TRUE(Has(std::string(run.status().message()), "the step that the run goes on from")) << run.status();
  });
}

// It would be what all go back to.
TEST_F(TrainerTest, AStateThatRanksDoNotShareIsNotSaved) {
  RanksOfARun good(folder_ + "/data", RunDir(), 2);
  good.TrainTo(3);
  RanksOfARun flipped(folder_ + "/data", RunDir(), 2);
  flipped.TrainTo(5, /*flip=*/true);
  const auto newest = checkpoint::LoadNewest(checkpoint::RealFileSystem(), RunDir(), nullptr);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->step(), 3);
}

// What the ranks of a model say together without each other is no text.
TEST_F(TrainerTest, ASampleInWhichTheRanksOfAModelLoseEachOtherIsNotLogged) {
  RanksOfARun ranks(folder_ + "/data", RunDir(), 2, /*tensor=*/2);
  ranks.settings().sample.every = 1;
  ranks.settings().sample.tokens = 60;
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(ranks.settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    auto run = OpenRun(ranks.settings(), world->get(), {.program = "program"});
    ASSERT_TRUE(run.ok()) << run.status();
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    options.world = world->get();
    int asked = 0;
    options.stop_requested = [&] {  // before the step, then after every token
      if (++asked == 4) (*world)->tensor().Abort(absl::UnavailableError("lost"));
      return false;
    };
    Trainer trainer(*run, options);
    EXPECT_FALSE(trainer.Run().ok());
    EXPECT_TRUE(trainer.lost_a_rank());
    EXPECT_LT(asked, 10);
  });
  EXPECT_FALSE(Has(Log(RunDir()), "\"kind\":\"sample\"")) << Log(RunDir());
}

TEST_F(TrainerTest, AnotherRegimeDropsWhatRanksHadNotSent) {
  RanksOfARun active(folder_ + "/data", RunDir(), 2);
  active.TrainTo(4);
  RanksOfARun exact(folder_ + "/data", RunDir(), 2);
  exact.settings().sparsity.regime = config::Regime::kExact;
  exact.TrainTo(6);
  EXPECT_TRUE(Has(Log(RunDir()), "belongs to other candidates")) << Log(RunDir());
}

TEST_F(TrainerTest, AnotherGridTakesOverWhatRanksHadNotSent) {
  RanksOfARun two(folder_ + "/data", RunDir(), 2);
  two.TrainTo(4);
  RanksOfARun three(folder_ + "/data", RunDir(), 3);
  three.TrainTo(6);
  EXPECT_TRUE(Has(Log(RunDir()), "the grid was 2x1 and is 3x1")) << Log(RunDir());
  EXPECT_TRUE(Has(Log(RunDir()), "taken over by the first"));
  RanksOfARun shared(folder_ + "/data", RunDir(), 2, /*tensor=*/2);
  shared.TrainTo(8);
  EXPECT_TRUE(Has(Log(RunDir()), "the grid was 3x1 and is 1x2")) << Log(RunDir());
  EXPECT_TRUE(Has(Log(RunDir()), "is dropped"));
}

TEST_F(TrainerTest, AModelThatNoMemoryHoldsIsRefusedBeforeAnythingIsWritten) {
  const auto run = OpenSmall({"model.d_model=16384", "model.d_mlp=32768", "model.n_layer=256"}, RunDir());
  ASSERT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Has(std::string(run.status().message()), "memory")) << run.status();
  EXPECT_TRUE(Has(std::string(run.status().message()), "would fit")) << run.status();
  EXPECT_FALSE(fs::exists(RunDir()));
}

TEST_F(TrainerTest, AnExchangeThatCannotNumberSoManyEntriesIsRefused) {
  const auto run = OpenSmall(
      {"model.d_model=8192", "model.n_layer=8", "sparsity.regime=exact", "parallel.exchange=balanced"}, RunDir());
  ASSERT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Has(std::string(run.status().message()), "parallel.exchange \"balanced\" is for models of fewer than"))
      << run.status();
  EXPECT_FALSE(fs::exists(RunDir()));
}

TEST_F(TrainerTest, AStartFromAnotherModelNamesTheSettingsThatDiffer) {
  {
    auto first = OpenSmall({"eval.every=0"}, RunDir());
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_TRUE(TrainUntil(*first, 1 << 30).ok());
  }
  // What no shape shows is a note.
  const auto relu = OpenSmall({"init.from=" + RunDir(), "model.activation=relu", "model.n_ctx=12"}, RunDir("-relu"));
  ASSERT_TRUE(relu.ok()) << relu.status();
  const std::string notes = fmt::format("{}", fmt::join(relu->notes, "\n"));
  EXPECT_TRUE(Has(notes, "model.activation is \"gelu\" there and \"relu\" here")) << notes;
  EXPECT_FALSE(Has(notes, "n_ctx")) << notes;
  EXPECT_FALSE(Has(notes, "another tokenizer")) << notes;
  // Other shapes are refused, by the setting.
  const auto wide = OpenSmall({"init.from=" + RunDir(), "model.d_model=48"}, RunDir("-wide"));
  ASSERT_EQ(wide.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Has(std::string(wide.status().message()), "model.d_model is 32 there and 48 here")) << wide.status();
}

}  // namespace
}  // namespace filigree::train
