#include <gtest/gtest.h>

#include <algorithm>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"

// A save that is cut off or refused at any of its file system operations: the older checkpoint or the new one is there
// afterwards, whole, and the next save tidies up.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 97;

// A run with checkpoints of steps 1 and 2; `next` is the state to be saved with keep_last 2: the run changes from the
// exact to the active regime.
struct Scene {
  explicit Scene(int64_t next_step) : older(kSeed, 1), old(kSeed + 1, 2), next(kSeed + 2, next_step, Regime::kActive) {
    EXPECT_TRUE(files.CreateFolder("run").ok());
    EXPECT_TRUE(files.SyncFolder("").ok());
    EXPECT_TRUE(Save(files, "run", older.state(), 2).ok());
    EXPECT_TRUE(Save(files, "run", old.state(), 2).ok());
  }
  FaultFileSystem files;
  TestState older, old, next;
};

int64_t OperationsOfASave(int64_t next_step) {
  Scene scene(next_step);
  const int64_t before = scene.files.operations();
  EXPECT_TRUE(Save(scene.files, "run", scene.next.state(), 2).ok());
  return scene.files.operations() - before;
}

void ExpectTidy(const FaultFileSystem& files) {
  for (const std::string& path : files.AllPaths()) {
    EXPECT_FALSE(path.ends_with(".tmp")) << path;
    EXPECT_EQ(path.find(".1.safetensors.tmp"), std::string::npos);
  }
}

// The state the newest good checkpoint holds: 'o' old, 'n' new, '?' neither.
char Survivor(Scene& scene) {
  std::vector<std::string> warnings;
  auto loaded = LoadNewest(scene.files, "run", &warnings);
  if (!loaded.ok()) return '?';
  if (Difference(*loaded, scene.old).empty()) return 'o';
  return Difference(*loaded, scene.next).empty() ? 'n' : '?';
}

class CrashTest : public ::testing::TestWithParam<int64_t> {};  // the step that is saved: a new one, or step 2 again

TEST_P(CrashTest, AtEveryOperation) {
  const int64_t operations = OperationsOfASave(GetParam());
  ASSERT_GT(operations, 15);
  int survived_old = 0, survived_new = 0;
  for (int64_t n = 0; n < operations; ++n) {
    for (int variant = 0; variant < 5; ++variant) {
      SCOPED_TRACE(::testing::Message() << "operation " << n << " of " << operations << ", variant " << variant);
      Scene scene(GetParam());
      scene.files.CrashAt(n);
      Save(scene.files, "run", scene.next.state(), 2).IgnoreError();
      const CrashKind kind = variant == 0   ? CrashKind::kDropAll
                             : variant == 1 ? CrashKind::kKeepNames
                                            : CrashKind::kTorn;
      scene.files.Reboot(kind, kSeed + variant);
      const char survivor = Survivor(scene);
      ASSERT_NE(survivor, '?');
      (survivor == 'o' ? survived_old : survived_new)++;

      // The run goes on: the next save is clean and complete, and nothing of the interrupted one is left.
      TestState after(kSeed + 3, 4);
      auto saved = Save(scene.files, "run", after.state(), 2);
      ASSERT_TRUE(saved.ok()) << saved.status();
      EXPECT_TRUE(saved->warnings.empty());
      auto loaded = LoadNewest(scene.files, "run", nullptr);
      ASSERT_TRUE(loaded.ok());
      EXPECT_EQ(Difference(*loaded, after), "");
      ExpectTidy(scene.files);
      const auto steps = scene.files.List("run/checkpoints");
      EXPECT_EQ(steps->size(), 2u);
      for (const std::string& step : *steps) {
        EXPECT_EQ(scene.files.List("run/checkpoints/" + step)->size(), 3u) << step;
      }
    }
  }
  EXPECT_GT(survived_old, 0);
  EXPECT_GT(survived_new, 0);
}

TEST_P(CrashTest, ASaveThatReturnedSurvivesAnything) {
  for (const CrashKind kind : {CrashKind::kDropAll, CrashKind::kKeepNames, CrashKind::kTorn}) {
    Scene scene(GetParam());
    ASSERT_TRUE(Save(scene.files, "run", scene.next.state(), 2).ok());
    scene.files.Reboot(kind, kSeed);
    EXPECT_EQ(Survivor(scene), 'n');
  }
}

TEST_P(CrashTest, ErrorsLeaveTheOlderCheckpointsAndNoTemporaryFiles) {
  const absl::Status errors[] = {absl::ResourceExhaustedError("no space left"),
                                 absl::UnknownError("input/output error")};
  const int64_t operations = OperationsOfASave(GetParam());
  int failed = 0;
  for (const absl::Status& error : errors) {
    for (int64_t n = 0; n < operations; ++n) {
      SCOPED_TRACE(::testing::Message() << "operation " << n << " of " << operations << ": " << error);
      Scene scene(GetParam());
      scene.files.FailAt(n, error, /*sticky=*/absl::IsResourceExhausted(error));
      auto saved = Save(scene.files, "run", scene.next.state(), 2);
      scene.files.ClearFaults();
      if (saved.ok()) {
        // Only tidying up failed: a warning, and the new state is safe.
        EXPECT_FALSE(saved->warnings.empty());
        EXPECT_EQ(Survivor(scene), 'n');
      } else {
        ++failed;
        EXPECT_EQ(saved.status().code(), error.code());
        EXPECT_NE(Survivor(scene), '?');
        ExpectTidy(scene.files);
        if (GetParam() != 2) {
          auto old = Checkpoint::Load(scene.files, "run/checkpoints/step-0000000002");
          ASSERT_TRUE(old.ok());
          EXPECT_EQ(Difference(*old, scene.old), "");
          EXPECT_TRUE(*scene.files.Exists("run/checkpoints/step-0000000001/manifest.json"));
        }
      }
      // The retry.
      auto again = Save(scene.files, "run", scene.next.state(), 2);
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_TRUE(again->warnings.empty());
      EXPECT_EQ(Survivor(scene), 'n');
    }
  }
  EXPECT_GT(failed, 20);
}

INSTANTIATE_TEST_SUITE_P(NewStepAndSameStep, CrashTest, ::testing::Values(3, 2));

TEST(FirstSaveTest, TheVeryFirstSaveLeavesNothingOrItself) {
  for (int64_t n = 0; n < 40; ++n) {
    FaultFileSystem files;
    ASSERT_TRUE(files.CreateFolder("run").ok());
    ASSERT_TRUE(files.SyncFolder("").ok());
    TestState state(kSeed);
    files.CrashAt(n);
    Save(files, "run", state.state(), 1).IgnoreError();
    files.Reboot(CrashKind::kTorn, kSeed + n);
    std::vector<std::string> warnings;
    auto loaded = LoadNewest(files, "run", &warnings);
    if (loaded.ok()) {
      EXPECT_EQ(Difference(*loaded, state), "");
    } else {
      EXPECT_TRUE(absl::IsNotFound(loaded.status()) || absl::IsDataLoss(loaded.status())) << loaded.status();
    }
    EXPECT_TRUE(Save(files, "run", state.state(), 1).ok());
  }
}

}  // namespace
}  // namespace filigree::checkpoint
