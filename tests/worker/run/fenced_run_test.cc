// Runs whose checkpoints a coordinator commits: from where they go on, and what becomes of a generation that is over
// and does not know it.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/worker/run/small_corpus.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/config/load.h"
#include "worker/parallel/world.h"
#include "worker/run/commit.h"
#include "worker/run/trainer.h"
#include "worker/telemetry/read_log.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;

// The last commit, and whether the next is taken.
struct Coordinator {
  int64_t generation = 1;
  std::optional<CommitPoint> last;
  absl::Status answer = absl::OkStatus();

  Fencing Place(int64_t next) {
    generation = next;
    Fencing fencing;
    fencing.job = "job-1";
    fencing.generation = next;
    fencing.resume = last;
    fencing.commit = [this](const CommitPoint& point) {
      if (!answer.ok()) return answer;
      if (point.generation != generation) return absl::FailedPreconditionError("the job is at a later generation");
      if (last && point.step <= last->step) return absl::FailedPreconditionError("steps must ascend");
      last = point;
      return absl::OkStatus();
    };
    return fencing;
  }
};

class FencedRunTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = ::testing::TempDir() + "/filigree-fenced-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    const absl::Status prepared = testing_support::PrepareSmallCorpus(folder_);
    ASSERT_TRUE(prepared.ok()) << prepared;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  std::string RunDir(const std::string& suffix = "") const {
    return folder_ + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + suffix;
  }
  config::Settings SettingsOf(const std::string& run_dir) const {
    config::Settings settings;
    settings.run.dir = run_dir;
    settings.data.dir = folder_ + "/data";
    settings.run.steps = 8;
    settings.run.threads = 1;
    settings.model.d_model = 32;
    settings.model.n_layer = 1;
    settings.model.n_ctx = 16;
    settings.train.batch = 4;
    settings.train.shards = 2;
    settings.eval.every = settings.sample.every = 0;
    settings.checkpoint.every = 2;
    settings.checkpoint.keep = 3;
    settings.sparsity.regime = config::Regime::kActive;  // whose ranks all hold everything
    settings.sparsity.density_start = settings.sparsity.embedding_density_start = 0.2;
    settings.sparsity.candidates = 2;
    settings.sparsity.refresh_every = 2;
    settings.sparsity.min_alive = 1;
    settings.sparsity.dense_phase = false;
    config::Resolve(settings);
    return settings;
  }

  struct Ended {
    absl::Status status;
    bool superseded = false;
    int64_t began_at = 0;
    std::string sha;
    std::vector<std::string> notes;
  };

  static Ended TrainOpened(OpenedRun& run, parallel::World* world, Fencing* fencing, int64_t steps) {
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    options.world = world;
    options.fencing = fencing;
    options.stop_requested = [&run, steps] { return run.state->step >= steps; };
    Ended ended;
    ended.began_at = run.state->step;
    ended.notes = run.notes;
    Trainer trainer(run, options);
    ended.status = trainer.Run().status();
    ended.superseded = trainer.superseded();
    ended.sha = checkpoint::StateSha256(StoredView(*run.state, 1), 1);
    return ended;
  }

  // Opens and trains to a step on so many ranks; what the last rank saw, and that all saw the same.
  Ended TrainTo(int64_t steps, const Fencing& fencing, int ranks = 1, const std::string& run_dir = "") const {
    std::vector<Ended> all(ranks);
    const config::Settings settings = SettingsOf(run_dir.empty() ? RunDir() : run_dir);
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      const auto world = parallel::World::Make(settings, std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      Fencing mine = fencing;
      Ended& ended = all[(*world)->rank()];
      auto run = OpenRun(settings, world->get(), {.program = "program", .fencing = &mine});
      ended.status = run.status();
      if (run.ok()) ended = TrainOpened(*run, world->get(), &mine, steps);
    });
    for (const Ended& ended : all) {
      EXPECT_EQ(ended.status.code(), all[0].status.code());
      EXPECT_EQ(ended.sha, all[0].sha);
      EXPECT_EQ(ended.superseded, all[0].superseded);
    }
    return all.back();
  }

  std::string Undisturbed() const {
    auto run = OpenRun(SettingsOf(RunDir("-whole")));
    EXPECT_TRUE(run.ok()) << run.status();
    return TrainOpened(*run, nullptr, nullptr, 1 << 30).sha;
  }

  std::vector<int64_t> LoggedSteps() const {
    std::vector<int64_t> steps;
    const auto log = telemetry::ReadLog(RunDir() + "/steps.jsonl");
    EXPECT_TRUE(log.ok()) << log.status();
    for (const telemetry::StepRecord& step : log->steps) steps.push_back(step.step);
    return steps;
  }
  static std::vector<int64_t> Steps(int64_t n) {
    std::vector<int64_t> steps(n);
    for (int64_t s = 0; s < n; ++s) steps[s] = s;
    return steps;
  }
  std::string FolderOf(int64_t step, int64_t generation) const {
    return fmt::format("{}/checkpoints/step-{:010}-g{}", RunDir(), step, generation);
  }

  static bool Has(const absl::Status& status, const std::string& part) {
    return std::string(status.message()).find(part) != std::string::npos;
  }

  inline static std::string folder_;
  Coordinator coordinator_;
};

TEST_F(FencedRunTest, GoesOnFromTheLastCommitAndNothingNewer) {
  for (const int ranks : {1, 2}) {
    fs::remove_all(RunDir());
    coordinator_ = {};
    ASSERT_TRUE(TrainTo(3, coordinator_.Place(1), ranks).status.ok());
    ASSERT_EQ(coordinator_.last->step, 3);
    // Whole, and never committed.
    coordinator_.answer = absl::UnavailableError("the coordinator is away");
    const Ended away = TrainTo(6, coordinator_.Place(2), ranks);
    EXPECT_TRUE(absl::IsUnavailable(away.status)) << away.status;
    EXPECT_FALSE(away.superseded);
    EXPECT_TRUE(fs::exists(FolderOf(6, 2) + "/manifest.json"));
    coordinator_.answer = absl::OkStatus();
    const Ended end = TrainTo(8, coordinator_.Place(3), ranks);
    ASSERT_TRUE(end.status.ok()) << end.status;
    EXPECT_EQ(end.began_at, 3);
    EXPECT_EQ(end.sha, Undisturbed());
    EXPECT_EQ(coordinator_.last->step, 8);
    EXPECT_FALSE(fs::exists(FolderOf(6, 2)));
    EXPECT_EQ(LoggedSteps(), Steps(8));
  }
}

// Where replicas differ the same processes go back, as the same generation.
TEST_F(FencedRunTest, WhatWasCommittedIsWhereTheSameGenerationGoesBackTo) {
  const Fencing fencing = coordinator_.Place(1);
  const config::Settings settings = SettingsOf(RunDir());
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    Fencing mine = fencing;
    for (const int64_t from : {0, 3}) {
      auto run = OpenRun(settings, world->get(), {.program = "program", .fencing = &mine});
      ASSERT_TRUE(run.ok()) << run.status();
      EXPECT_EQ(run->state->step, from);
      EXPECT_TRUE(TrainOpened(*run, world->get(), &mine, from + 3).status.ok());
    }
    EXPECT_EQ(mine.resume, coordinator_.last);
  });
  EXPECT_EQ(coordinator_.last->step, 6);
}

TEST_F(FencedRunTest, WithoutACommitItBeginsWhateverLiesThere) {
  coordinator_.answer = absl::UnavailableError("the coordinator is away");
  EXPECT_FALSE(TrainTo(3, coordinator_.Place(1), 2).status.ok());
  coordinator_.answer = absl::OkStatus();
  const Ended end = TrainTo(4, coordinator_.Place(2), 2);
  ASSERT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.began_at, 0);
}

TEST_F(FencedRunTest, ARunFromBeforeIsNotOverwritten) {
  {
    auto run = OpenRun(SettingsOf(RunDir()));
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_TRUE(TrainOpened(*run, nullptr, nullptr, 2).status.ok());
  }
  const absl::Status refused = TrainTo(4, coordinator_.Place(1)).status;
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_TRUE(Has(refused, "holds the checkpoints of another run")) << refused;
  EXPECT_TRUE(Has(refused, "init.from")) << refused;
  // Nor what another job has committed.
  fs::remove_all(RunDir());
  ASSERT_TRUE(TrainTo(3, coordinator_.Place(1)).status.ok());
  Coordinator other;
  EXPECT_EQ(TrainTo(4, other.Place(5)).status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FencedRunTest, ALateWriterLeavesAndSpoilsNothing) {
  ASSERT_TRUE(TrainTo(2, coordinator_.Place(1), 2).status.ok());
  const Fencing late = coordinator_.Place(2);
  coordinator_.Place(3);
  const Ended refused = TrainTo(8, late, 2);
  EXPECT_TRUE(refused.superseded) << refused.status;
  EXPECT_TRUE(Has(refused.status, "the job is at a later generation")) << refused.status;
  EXPECT_EQ(coordinator_.last->step, 2);
  const Ended end = TrainTo(8, coordinator_.Place(3), 2);
  ASSERT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.began_at, 2);
  EXPECT_EQ(end.sha, Undisturbed());
}

// Where the folder has changed hands there is nobody to ask.
TEST_F(FencedRunTest, AFirstRankThatWakesUpLateWritesNothingMore) {
  Fencing first = coordinator_.Place(1);
  auto asleep = OpenRun(SettingsOf(RunDir()), nullptr, {.fencing = &first});
  ASSERT_TRUE(asleep.ok()) << asleep.status();
  Ended successor;
  TrainerOptions options;
  options.output = telemetry::Output::kQuiet;
  options.fencing = &first;
  options.stop_requested = [&] {
    if (asleep->state->step == 3 && successor.sha.empty()) successor = TrainTo(8, coordinator_.Place(2));
    return false;
  };
  Trainer trainer(*asleep, options);
  const auto end = trainer.Run();
  ASSERT_TRUE(successor.status.ok()) << successor.status;
  EXPECT_EQ(successor.began_at, 2);
  EXPECT_TRUE(trainer.superseded()) << end.status();
  EXPECT_LE(asleep->state->step, 4);
  EXPECT_EQ(LoggedSteps(), Steps(8));
  const auto log = telemetry::ReadLog(RunDir() + "/steps.jsonl");
  ASSERT_EQ(log->ends.size(), 1u);
  EXPECT_EQ(log->ends[0].reason, "done");
  EXPECT_EQ(coordinator_.last->generation, 2);
  EXPECT_TRUE(checkpoint::LoadCommitted(checkpoint::RealFileSystem(), RunDir(), *coordinator_.last, nullptr).ok());
}

TEST_F(FencedRunTest, ALaterGenerationsFolderIsRefused) {
  const Fencing late = coordinator_.Place(1);
  ASSERT_TRUE(TrainTo(2, coordinator_.Place(2)).status.ok());
  const absl::Status refused = TrainTo(4, late).status;
  EXPECT_TRUE(IsSuperseded(refused)) << refused;
}

TEST_F(FencedRunTest, GoesBackToAnOlderCopyWhereTheLastIsDamaged) {
  ASSERT_TRUE(TrainTo(5, coordinator_.Place(1)).status.ok());
  ASSERT_EQ(coordinator_.last->step, 5);
  {
    std::fstream file(FolderOf(5, 1) + "/weights.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x7f');
  }
  // What it computes again cannot be committed again, and a stop among it is no failure.
  const Ended stopped = TrainTo(5, coordinator_.Place(2));
  EXPECT_TRUE(stopped.status.ok()) << stopped.status;
  EXPECT_EQ(stopped.began_at, 4);
  EXPECT_EQ(coordinator_.last->step, 5);
  const Ended end = TrainTo(8, coordinator_.Place(3));
  ASSERT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.began_at, 4);
  EXPECT_TRUE(std::any_of(end.notes.begin(), end.notes.end(), [](const std::string& note) {
    return note.find("step 5 of generation 1, is lost") != std::string::npos;
  }));
  EXPECT_EQ(coordinator_.last->step, 8);
  EXPECT_EQ(end.sha, Undisturbed());
}

TEST_F(FencedRunTest, ALastStepWhoseFilesAreLostIsAnError) {
  ASSERT_TRUE(TrainTo(8, coordinator_.Place(1)).status.ok());
  fs::remove(FolderOf(8, 1) + "/manifest.json");
  const absl::Status lost = TrainTo(8, coordinator_.Place(2)).status;
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_TRUE(Has(lost, "step 8 was computed again")) << lost;
}

TEST_F(FencedRunTest, ACommitWhoseWriterWasLostBeforeItsMarkIsMarkedByTheNext) {
  ASSERT_TRUE(TrainTo(2, coordinator_.Place(1)).status.ok());
  fs::remove(FolderOf(2, 1) + "/committed");
  ASSERT_TRUE(TrainTo(2, coordinator_.Place(2), 2).status.ok());
  const auto newest = checkpoint::LoadNewest(checkpoint::RealFileSystem(), RunDir(), nullptr);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->path(), FolderOf(2, 1));
}

TEST_F(FencedRunTest, WhereNoCommittedCopyIsLeftItSaysWhichIsMissing) {
  ASSERT_TRUE(TrainTo(2, coordinator_.Place(1)).status.ok());
  fs::remove_all(FolderOf(2, 1));
  const absl::Status lost = TrainTo(4, coordinator_.Place(2), 2).status;
  EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
  EXPECT_TRUE(Has(lost, "step-0000000002-g1")) << lost;
}

}  // namespace
}  // namespace filigree::train
