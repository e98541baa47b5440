#include "worker/run/kept_state.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/worker/run/small_corpus.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/config/load.h"
#include "worker/parallel/world.h"
#include "worker/run/trainer.h"
#include "worker/telemetry/read_log.h"
#include "worker/train/fault.h"
#include "worker/train/ownership.h"
#include "worker/train/stored_state.h"

// Generations of ranks, which are threads here: some keep what they have in memory, others are new.

namespace filigree::train {
namespace {

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

TEST_F(KeptStateTest, AllWhoAreLeftGoOnFromMemoryAlsoUnderANewFirstRank) {
  Process a, b, c;
  EXPECT_EQ(Generation({&a, &b, &c}, 6)[0].way, Way::kNothing);
  Lose(a);
  CutLog(2);
  const auto kept = Generation({&b, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kMemory);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(Sha(b), Undisturbed());
  EXPECT_EQ(Sha(c), Sha(b));
  ExpectWholeLog();
}

TEST_F(KeptStateTest, ANewcomerGetsTheStateOfTheOthersWhereverItStands) {
  for (const int newcomer : {0, 1, 2}) {
    fs::remove_all(RunDir());
    Process a, b, c, d;
    Generation({&a, &b, &c}, 7);  // the last checkpoint is that of step 4
    Lose(a);
    CutLog(1);
    std::vector<Process*> next = {&b, &c};
    next.insert(next.begin() + newcomer, &d);
    const auto kept = Generation(next, 9);
    EXPECT_EQ(kept[0].way, Way::kCheckpoint);
    EXPECT_EQ(kept[0].step, 7);
    EXPECT_EQ(Sha(d), Undisturbed());
    EXPECT_EQ(Sha(b), Sha(d));
    ExpectWholeLog();
  }
}

// Whoever is a step behind is as good as new.
TEST_F(KeptStateTest, TheNewestOfSeveralStatesCounts) {
  Process a, b, late;
  Generation({&a, &b}, 5);
  late.run = std::move(b.run);
  Process c;
  Generation({&a, &c}, 6);
  Lose(a);
  const auto kept = Generation({&late, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kCheckpoint);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(Sha(late), Undisturbed());
}

TEST_F(KeptStateTest, StatesThatDifferAreNotKept) {
  Process a, b, c;
  Generation({&a, &b, &c}, 6);
  Lose(a);
  b.run->state->weights.data()[3] += 1;
  const auto kept = Generation({&b, &c}, 9);
  EXPECT_EQ(kept[0].way, Way::kNothing);
  EXPECT_NE(kept[0].note.find("do not hold the same state"), std::string::npos);
  EXPECT_EQ(Sha(b), Undisturbed());
}

// Who was the first is alive and still busy, with a checkpoint for instance, when the others begin again.
TEST_F(KeptStateTest, AnotherFirstRankWaitsForTheLock) {
  Process old, a, b;
  Generation({&old, &a, &b}, 5);
  ASSERT_TRUE(old.run->lock.has_value());
  meanwhile_ = [&old](parallel::World& world, const std::atomic<bool>& over) {
    while (world.progress().phase() != std::string_view(kWaitsForLock) && !over) std::this_thread::yield();
    if (!over) Lose(old);
  };
  const auto kept = Generation({&a, &b}, 9);
  EXPECT_EQ(old.run, nullptr);
  EXPECT_EQ(kept[0].way, Way::kMemory);
  EXPECT_EQ(Sha(a), Undisturbed());
}

TEST_F(KeptStateTest, WhatIsOwedIsNotKept) {
  settings_.parallel.wire = config::Wire::kBf16;
  Process a, b, c;
  Generation({&a, &b}, 3);
  Lose(a);
  EXPECT_EQ(Generation({&b, &c}, 4)[0].way, Way::kNothing);
}

// Moments of matrices with owners stay where they are owned again, and change places through a checkpoint.
TEST_F(KeptStateTest, OwnersGoOnAsLongAsTheyHaveAllTogether) {
  settings_.sparsity.regime = config::Regime::kExact;
  Process a, b, c;
  Generation({&a, &b}, 3);
  EXPECT_EQ(Generation({&a, &b}, 5)[0].way, Way::kMemory);
  const auto swapped = Generation({&b, &a}, 6);
  EXPECT_EQ(swapped[0].way, Way::kCheckpoint);
  EXPECT_EQ(swapped[0].step, 5);
  const auto grown = Generation({&b, &c, &a}, 7);
  EXPECT_EQ(grown[0].way, Way::kCheckpoint);
  EXPECT_EQ(grown[0].step, 6);
  Lose(b);
  EXPECT_EQ(Generation({&a, &c}, 9)[0].way, Way::kNothing);  // what b owned is gone
  EXPECT_EQ(SavedSha(), Undisturbed());
  ExpectWholeLog();
}

TEST_F(KeptStateTest, RanksThatShareAModelGoOnAsLongAsTheyHaveAllTogether) {
  settings_.model.tensor_groups = settings_.parallel.tensor = 2;
  Process first, second, other_first, other_second, fresh;  // of two groups
  Generation({&first, &second, &other_first, &other_second}, 3);
  EXPECT_EQ(Generation({&first, &other_second}, 5)[0].way, Way::kMemory);
  const auto swapped = Generation({&other_second, &first}, 6);
  EXPECT_EQ(swapped[0].way, Way::kCheckpoint);
  EXPECT_EQ(swapped[0].step, 5);
  const auto grown = Generation({&other_second, &first, &fresh, &second}, 7);  // one is new, one behind
  EXPECT_EQ(grown[0].way, Way::kCheckpoint);
  EXPECT_EQ(grown[0].step, 6);
  Lose(other_second);
  Lose(fresh);  // of the same place
  EXPECT_EQ(Generation({&first, &second}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(SavedSha(), Undisturbed());
  ExpectWholeLog();
}

TEST_F(KeptStateTest, MomentsThatTwoHoldersDoNotShareAreNotKept) {
  settings_.model.tensor_groups = settings_.parallel.tensor = 2;
  Process a, b, c, d;
  Generation({&a, &b, &c, &d}, 5);
  for (int t = 0; t < d.run->state->registry.size(); ++t) {
    const model::TensorInfo& info = d.run->state->registry[t];
    const std::vector<int> owners = OwnersIn(settings_, d.run->state->registry, {2, 2});
    if (owners[t] == 1) d.run->state->optimizer.m().tensor(info)[0] += 1;
  }
  const auto kept = Generation({&a, &b, &c, &d}, 9);
  EXPECT_EQ(kept[0].way, Way::kNothing);
  EXPECT_NE(kept[0].note.find("do not hold the same state"), std::string::npos) << kept[0].note;
  EXPECT_EQ(SavedSha(), Undisturbed());
}

TEST_F(KeptStateTest, AnUpdateThatWasBrokenOffIsNotKept) {
  Process a, b;
  Generation({&a, &b}, 5);
  EXPECT_FALSE(a.run->state->torn || b.run->state->torn);
  b.run->state->torn = true;
  Lose(a);
  EXPECT_EQ(Generation({&b}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(Sha(b), Undisturbed());
}

// Every write fails of which the path has this part.
class FullDisk : public checkpoint::FileSystem {
 public:
  explicit FullDisk(std::string part = "") : part_(std::move(part)) {}
  absl::StatusOr<std::unique_ptr<checkpoint::ReadableFile>> OpenForRead(const std::string& path) override {
    return real_.OpenForRead(path);
  }
  absl::StatusOr<std::unique_ptr<checkpoint::WritableFile>> Create(const std::string& path) override {
    if (path.find(part_) == std::string::npos) return real_.Create(path);
    return absl::ResourceExhaustedError("no space left");
  }
  absl::Status CreateFolder(const std::string& path) override { return real_.CreateFolder(path); }
  absl::Status SyncFolder(const std::string& path) override { return real_.SyncFolder(path); }
  absl::Status Rename(const std::string& from, const std::string& to) override { return real_.Rename(from, to); }
  absl::Status RemoveFile(const std::string& path) override { return real_.RemoveFile(path); }
  absl::Status RemoveFolder(const std::string& path) override { return real_.RemoveFolder(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return real_.List(path); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_.Exists(path); }

 private:
  const std::string part_;
  checkpoint::FileSystem& real_ = checkpoint::RealFileSystem();
};

TEST_F(KeptStateTest, ASaveThatIsToBeTriedAgainIsOwedAlsoAfterALoss) {
  Process a, b;
  FullDisk full("step-");
  saves_to_ = &full;
  Generation({&a, &b}, 6);  // that of step 4 was to be tried again at step 14
  saves_to_ = nullptr;
  Generation({&a, &b}, 7);
  const auto newest = checkpoint::LoadNewest(checkpoint::RealFileSystem(), RunDir(), nullptr);
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(newest->step(), 7);
}

TEST_F(KeptStateTest, WhereItCannotBeSavedAllGoOnFromTheLastCheckpoint) {
  Process a, b, c;
  Generation({&a, &b}, 6);
  Lose(a);
  FullDisk full;
  const auto kept = Generation({&c, &b}, 9, full);
  EXPECT_EQ(kept[1].way, Way::kNothing);
  EXPECT_NE(kept[1].note.find("no space left"), std::string::npos) << kept[1].note;
  EXPECT_EQ(Sha(c), Undisturbed());
  ExpectWholeLog();
}

// Under a coordinator.
class FencedKeptStateTest : public KeptStateTest {
 protected:
  void Place(int64_t generation, const std::vector<Process*>& processes, bool rollback = false) {
    for (Process* process : processes) {
      process->fencing.emplace();
      process->fencing->job = "job-1";
      process->fencing->generation = generation;
      process->fencing->rollback = rollback;
      process->fencing->resume = last_;
      process->fencing->commit = [this](const CommitPoint& point) {
        if (answer_.ok()) last_ = point;
        return answer_;
      };
    }
  }
  std::optional<CommitPoint> last_;
  absl::Status answer_ = absl::OkStatus();
};

TEST_F(FencedKeptStateTest, WhatNewcomersTakeOverIsCommitted) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  EXPECT_EQ(last_->step, 4);
  Lose(a);
  Place(2, {&c, &b});
  const auto kept = Generation({&c, &b}, 9);
  EXPECT_EQ(kept[0].way, Way::kCheckpoint);
  EXPECT_EQ(kept[0].step, 6);
  EXPECT_EQ(last_->step, 9);
  EXPECT_EQ(last_->generation, 2);
  EXPECT_EQ(Sha(c), Undisturbed());
  ExpectWholeLog();
}

TEST_F(FencedKeptStateTest, ARollbackKeepsNothing) {
  Process a, b;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  Place(2, {&a, &b}, /*rollback=*/true);
  EXPECT_EQ(Generation({&a, &b}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(Sha(a), Undisturbed());
}

TEST_F(FencedKeptStateTest, NobodyGoesBehindTheLastCommitNorCommitsItAgain) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 3);
  Process behind;
  behind.run = std::move(b.run);
  Place(2, {&a, &c});
  Generation({&a, &c}, 4);  // commits 4
  const CommitPoint committed = *last_;
  EXPECT_EQ(committed.step, 4);
  Place(3, {&behind});
  EXPECT_EQ(Generation({&behind}, 4)[0].way, Way::kNothing);
  EXPECT_EQ(behind.run->state->step, 4);
  // Whoever has just committed need not again for the sake of newcomers.
  Process d;
  Place(4, {&a, &d});
  EXPECT_EQ(Generation({&a, &d}, 9)[0].way, Way::kNothing);
  EXPECT_EQ(last_->step, 9);
  EXPECT_EQ(Sha(d), Undisturbed());
}

// Whoever asks for the commit is lost before there is an answer.
TEST_F(FencedKeptStateTest, AfterTheLastStepWhatIsKeptWantsWhatComesThen) {
  enum Next { kAllWhoAreLeft, kANewcomerToo, kInTheEvaluation };
  for (const Next next : {kAllWhoAreLeft, kANewcomerToo, kInTheEvaluation}) {
    fs::remove_all(RunDir());
    last_.reset();
    Process a, b, c;
    Place(1, {&a, &b});
    answer_ = absl::UnavailableError("the coordinator is not reached");
    last_save_works_ = false;
    Generation({&a, &b}, 9);
    Lose(a);
    EXPECT_EQ(b.run->state->step, 9);
    EXPECT_EQ(b.run->owed, Owed::kSave);
    if (next == kInTheEvaluation) {
      b.run->owed = Owed::kEvaluation;
      b.run->settings.eval.every = 100;  // and at the end
    }
    answer_ = absl::OkStatus();
    last_save_works_ = true;
    std::vector<Process*> processes = {&b};
    if (next == kANewcomerToo) processes.insert(processes.begin(), &c);
    Place(2, processes);
    // An evaluation asks whether to stop, which is where these tests lose a rank: here nobody is.
    const auto kept = Generation(processes, next == kInTheEvaluation ? 10 : 9);
    constexpr Way kWays[] = {Way::kMemory, Way::kCheckpoint, Way::kMemory};
    EXPECT_EQ(kept[0].way, kWays[next]);
    EXPECT_EQ(kept[0].step, 9);
    EXPECT_EQ(last_->step, 9);
    EXPECT_EQ(last_->generation, 2);
    EXPECT_EQ(Sha(b), Undisturbed());
    ExpectWholeLog();
    EXPECT_EQ(telemetry::ReadLog(RunDir() + "/steps.jsonl")->evals.size(), next == kInTheEvaluation ? 1u : 0u);
  }
}

TEST_F(FencedKeptStateTest, ALateWriterSavesNothingForNewcomers) {
  Process a, b, c;
  Place(1, {&a, &b});
  Generation({&a, &b}, 6);
  Place(2, {&b, &c});
  answer_ = absl::FailedPreconditionError("the job is at generation 3");
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = parallel::World::Make(settings_, std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    Process& mine = (*world)->first() ? b : c;
    const auto kept = KeepState(mine.run.get(), RunDir(), 2, **world, checkpoint::RealFileSystem(), &*mine.fencing);
    EXPECT_TRUE(IsSuperseded(kept.status())) << kept.status();
  });
}

}  // namespace
}  // namespace filigree::train
