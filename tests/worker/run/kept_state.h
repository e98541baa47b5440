#ifndef FILIGREE_TESTS_WORKER_RUN_KEPT_STATE_H_
#define FILIGREE_TESTS_WORKER_RUN_KEPT_STATE_H_

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/worker/run/small_corpus.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/config/load.h"
#include "worker/parallel/world.h"
#include "worker/run/kept_state.h"
#include "worker/run/trainer.h"
#include "worker/telemetry/read_log.h"
#include "worker/train/stored_state.h"

// Generations of ranks, which are threads here: some keep what they have in memory, others are new.

namespace filigree::train {

namespace fs = std::filesystem;
using Way = Kept::Way;

struct Process {
  std::unique_ptr<OpenedRun> run;
  std::optional<Fencing> fencing;
};

class KeptStateTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = ::testing::TempDir() + "/filigree-kept-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    const absl::Status prepared = testing_support::PrepareSmallCorpus(folder_);
    ASSERT_TRUE(prepared.ok()) << prepared;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  void SetUp() override {
    settings_.run.dir = RunDir();
    settings_.data.dir = folder_ + "/data";
    settings_.run.steps = 9;
    settings_.run.threads = 1;
    settings_.model.d_model = 32;
    settings_.model.n_layer = 1;
    settings_.model.n_ctx = 16;
    settings_.train.batch = 6;
    settings_.train.shards = 3;
    settings_.eval.every = settings_.sample.every = 0;
    settings_.checkpoint.every = 4;
    settings_.sparsity.regime = config::Regime::kActive;
    settings_.sparsity.density_start = settings_.sparsity.embedding_density_start = 0.2;
    settings_.sparsity.candidates = 2;
    settings_.sparsity.refresh_every = 2;
    settings_.sparsity.min_alive = 1;
    settings_.sparsity.dense_phase = false;
    config::Resolve(settings_);
  }
  static std::string RunDir() {
    return folder_ + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  // One generation of these processes, in the order of ranks: what is kept, then training to a step. Ranks return
  // without a checkpoint, as if one had been lost there.
  std::vector<Kept> Generation(const std::vector<Process*>& processes, int64_t steps,
                               checkpoint::FileSystem& files = checkpoint::RealFileSystem()) {
    std::vector<Kept> kept(processes.size());
    std::barrier all_there(std::ssize(processes));
    testing_support::RunRanks(static_cast<int>(processes.size()), [&](std::unique_ptr<comm::Transport> transport) {
      config::Settings settings = settings_;
      const auto world = parallel::World::Make(settings, std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      Process& mine = *processes[(*world)->rank()];
      Fencing* fencing = mine.fencing ? &*mine.fencing : nullptr;
      std::atomic<bool> over{false};
      std::thread beside;
      if (meanwhile_ && (*world)->first()) beside = std::thread([&] { meanwhile_(**world, over); });
      const auto found = KeepState(mine.run.get(), settings.run.dir, 2, **world, files, fencing);
      over = true;
      if (beside.joinable()) beside.join();
      ASSERT_TRUE(found.ok()) << found.status();
      kept[(*world)->rank()] = *found;
      if (found->way == Way::kMemory) {
        mine.run->resumed = false;
        mine.run->owed = found->owed;
      } else {
        mine.run = nullptr;
        auto opened = OpenRun(settings, world->get(), {.program = "program", .fencing = fencing});
        ASSERT_TRUE(opened.ok()) << opened.status();
        mine.run = std::make_unique<OpenedRun>(*std::move(opened));
        mine.run->last_steps = found->last_steps;
      }
      TrainUntilLoss(mine, **world, steps, all_there);
    });
    for (const Kept& each : kept) {
      EXPECT_EQ(each.way, kept[0].way);
      EXPECT_EQ(each.step, kept[0].step);
    }
    return kept;
  }

  // The loss comes when all have done the step.
  void TrainUntilLoss(Process& mine, parallel::World& world, int64_t steps, std::barrier<>& all_there) {
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    options.world = &world;
    options.fencing = mine.fencing ? &*mine.fencing : nullptr;
    options.file_system = saves_to_;
    options.stop_requested = [&] {
      if (mine.run->state->step < steps) return false;
      all_there.arrive_and_wait();
      world.Abort(absl::UnavailableError("a rank is lost"));
      return true;
    };
    Trainer trainer(*mine.run, options);
    const auto end = trainer.Run();
    EXPECT_EQ(end.ok(), steps >= settings_.run.steps && last_save_works_) << end.status();
  }

  static std::string Sha(const Process& process) {
    return checkpoint::StateSha256(StoredView(*process.run->state, 1), 1);
  }
  // Of the newest checkpoint: of the moments that ranks own no rank has all.
  static std::string SavedSha() {
    const auto newest = checkpoint::LoadNewest(checkpoint::RealFileSystem(), RunDir(), nullptr);
    EXPECT_TRUE(newest.ok()) << newest.status();
    return *checkpoint::StateSha256(*newest, 1);
  }
  std::string Undisturbed() {
    config::Settings settings = settings_;
    settings.parallel.tensor = 1;
    settings.run.dir += "-whole";
    auto run = OpenRun(settings);
    EXPECT_TRUE(run.ok()) << run.status();
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    EXPECT_TRUE(Trainer(*run, options).Run().ok());
    return checkpoint::StateSha256(StoredView(*run->state, 1), 1);
  }
  static void Lose(Process& process) { process.run = nullptr; }

  // The log of the whole run, each step once.
  void ExpectWholeLog() {
    const auto log = telemetry::ReadLog(RunDir() + "/steps.jsonl");
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_EQ(log->steps.size(), static_cast<size_t>(settings_.run.steps));
    for (size_t s = 0; s < log->steps.size(); ++s) EXPECT_EQ(log->steps[s].step, static_cast<int64_t>(s));
  }
  // As if its writer had been lost before the last lines.
  static void CutLog(int lines) {
    std::ifstream in(RunDir() + "/steps.jsonl");
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) {
      if (line.find("\"kind\":\"step\"") != std::string::npos) all.push_back(line);
    }
    in.close();
    all.resize(all.size() - lines);
    std::ofstream out(RunDir() + "/steps.jsonl");
    for (const std::string& line : all) out << line << "\n";
  }

  inline static std::string folder_;
  config::Settings settings_;
  // Runs beside KeepState of the first rank, to its end.
  std::function<void(parallel::World&, const std::atomic<bool>& over)> meanwhile_;
  bool last_save_works_ = true;
  checkpoint::FileSystem* saves_to_ = nullptr;  // null: the real files
};

}  // namespace filigree::train

#endif  // FILIGREE_TESTS_WORKER_RUN_KEPT_STATE_H_
