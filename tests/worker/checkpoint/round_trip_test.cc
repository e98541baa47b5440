#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"

// What goes in comes out, bit by bit; which checkpoints stay; whose checkpoint it is.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 41;

class RoundTripTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(files_.CreateFolder("run").ok()); }

  std::vector<std::string> Steps() {
    auto names = files_.List("run/checkpoints");
    return names.ok() ? *names : std::vector<std::string>{};
  }

  FaultFileSystem files_;
};

TEST_F(RoundTripTest, EveryStorageComesBackBitByBit) {
  for (uint64_t seed = kSeed; seed < kSeed + 20; ++seed) {
    SCOPED_TRACE(seed);
    TestState state(seed, static_cast<int64_t>(seed), Regime::kActive);
    auto saved = Save(files_, "run", state.state(), 2);
    ASSERT_TRUE(saved.ok()) << saved.status();
    EXPECT_TRUE(saved->warnings.empty());
    const std::string& manifest = files_.Bytes(saved->path + "/manifest.json");
    EXPECT_NE(manifest.find("\"version\": 2"), std::string::npos);
    EXPECT_NE(manifest.find("\"weight\": \"candidates\""), std::string::npos) << "x.stray.weight";
    auto loaded = Checkpoint::Load(files_, saved->path);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(Difference(*loaded, state), "");
    EXPECT_TRUE(loaded->Find("h.0.c_attn.weight")->sparse);
    EXPECT_TRUE(loaded->Find("bias")->sparse);
    EXPECT_FALSE(loaded->Find("h.0.c_proj.weight")->sparse);
    EXPECT_FALSE(loaded->Find("stray.weight")->sparse) << "a -0.0 outside the selection would be lost";
    EXPECT_FALSE(loaded->Find("h.1.c_proj.weight")->has_moments);
    EXPECT_FALSE(loaded->Find("x.still.weight")->has_moments);
    EXPECT_TRUE(loaded->Find("x.csr.weight")->sparse);
    EXPECT_EQ(loaded->Find("x.full.weight")->candidates, 64);
    EXPECT_EQ(loaded->Find("x.empty.weight")->kept, 0);
  }
}

// Programs that know version 1 alone go on reading every run that has no candidates.
TEST_F(RoundTripTest, WithoutCandidatesTheVersionStaysOne) {
  TestState state(kSeed);
  auto saved = Save(files_, "run", state.state(), 1);
  ASSERT_TRUE(saved.ok());
  const std::string& manifest = files_.Bytes(saved->path + "/manifest.json");
  EXPECT_NE(manifest.find("\"version\": 1"), std::string::npos);
  EXPECT_EQ(manifest.find("candidates"), std::string::npos);
}

int64_t PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// 1.6 G elements, of which 2000 exist: dense they would be 6.4 GB, their bitmap 200 MB.
TEST_F(RoundTripTest, MemoryFollowsTheCandidatesAndNeverTheShape) {
  constexpr int kRows = 40000, kEntries = 2000;
  kernels::Pattern pattern(kRows, kRows, kEntries);
  std::vector<float> w(kEntries), m(kEntries), v(kEntries);
  std::vector<uint64_t> kept((kEntries + 63) / 64, 0);
  testing_support::Rng rng(kSeed);
  for (int e = 0; e < kEntries; ++e) {
    pattern.row_offsets()[e * (kRows / kEntries) + 7]++;
    pattern.col_indices()[e] = static_cast<uint16_t>(rng.Below(kRows));
    m[e] = rng.Normal();
    v[e] = rng.Normal();
    if (rng.Below(4) != 0) continue;
    w[e] = rng.Normal();
    kept[e / 64] |= uint64_t{1} << (e % 64);
  }
  for (int r = 0; r < kRows; ++r) pattern.row_offsets()[r + 1] += pattern.row_offsets()[r];
  const kernels::PatternView view = pattern.view();
  State state;
  state.tensors = {{"huge.weight", {kRows, kRows}, w.data(), m.data(), v.data(), kept.data(), &view}};
  const int64_t before = PeakMegabytes();
  auto saved = Save(files_, "run", state, 1);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_LT(saved->bytes, 1 << 20);
  auto loaded = Checkpoint::Load(files_, saved->path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  auto read = loaded->CopyCandidates("huge.weight", {kRows, kRows});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::memcmp(read->pattern.col_indices(), view.col_indices, kEntries * sizeof(uint16_t)), 0);
  EXPECT_TRUE(SameBits(read->weight.data(), w.data(), kEntries) && SameBits(read->v.data(), v.data(), kEntries));
  EXPECT_EQ(*StateSha256(*loaded, 2), StateSha256(state, 2));
  EXPECT_LT(PeakMegabytes() - before, 50);
}

TEST_F(RoundTripTest, FilesAreAFunctionOfTheState) {
  TestState one(kSeed), two(kSeed);
  ASSERT_TRUE(files_.CreateFolder("other").ok());
  ASSERT_TRUE(Save(files_, "run", one.state(), 1).ok());
  ASSERT_TRUE(Save(files_, "other", two.state(), 1).ok());
  for (const char* name : {"weights.safetensors", "moments.safetensors", "manifest.json"}) {
    const std::string path = std::string("/checkpoints/step-0000000010/") + name;
    EXPECT_EQ(files_.Bytes("run" + path), files_.Bytes("other" + path)) << name;
  }
}

TEST_F(RoundTripTest, KeepsTheNewestAndDropsAbandonedLaterSteps) {
  for (const int64_t step : {10, 20, 30, 40}) {
    TestState state(kSeed, step);
    ASSERT_TRUE(Save(files_, "run", state.state(), 2).ok());
  }
  EXPECT_EQ(Steps(), (std::vector<std::string>{"step-0000000030", "step-0000000040"}));
  TestState earlier(kSeed, 35);  // the run went back to 30 and on from there
  ASSERT_TRUE(Save(files_, "run", earlier.state(), 2).ok());
  EXPECT_EQ(Steps(), (std::vector<std::string>{"step-0000000030", "step-0000000035"}));
  TestState last(kSeed, 36);
  ASSERT_TRUE(Save(files_, "run", last.state(), 0).ok());
  EXPECT_EQ(Steps(), (std::vector<std::string>{"step-0000000036"})) << "the last good one always stays";
}

TEST_F(RoundTripTest, ASecondSaveOfAStepReplacesTheFirst) {
  TestState first(kSeed), second(kSeed + 1);
  ASSERT_TRUE(Save(files_, "run", first.state(), 2).ok());
  ASSERT_TRUE(Save(files_, "run", second.state(), 2).ok());
  std::vector<std::string> warnings;
  auto loaded = LoadNewest(files_, "run", &warnings);
  ASSERT_TRUE(loaded.ok());
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(Difference(*loaded, second), "");
  EXPECT_EQ(files_.List("run/checkpoints/step-0000000010")->size(), 3u) << "files of the first one are gone";
}

TEST_F(RoundTripTest, OtherPeoplesFilesStay) {
  TestState state(kSeed);
  ASSERT_TRUE(files_.CreateFolder("run/checkpoints").ok());
  ASSERT_TRUE(files_.CreateFolder("run/checkpoints/step-7-best").ok());
  ASSERT_TRUE(files_.CreateFolder("run/checkpoints/step-0000000010").ok());
  ASSERT_TRUE(files_.Create("run/checkpoints/step-0000000010/notes.txt").ok());
  ASSERT_TRUE(Save(files_, "run", state.state(), 1).ok());
  EXPECT_TRUE(*files_.Exists("run/checkpoints/step-7-best"));
  EXPECT_TRUE(*files_.Exists("run/checkpoints/step-0000000010/notes.txt"));
}

TEST_F(RoundTripTest, ACheckpointOfAnotherModelIsRefusedByName) {
  TestState state(kSeed);
  auto saved = Save(files_, "run", state.state(), 1);
  auto loaded = Checkpoint::Load(files_, saved->path);
  ASSERT_TRUE(loaded.ok());
  std::vector<NamedShape> model;
  for (const StateTensor& t : state.state().tensors) model.push_back({t.name, t.shape});
  EXPECT_TRUE(loaded->CheckModel(model).ok());

  model[0].shape = {7, 6};
  const absl::Status other_shape = loaded->CheckModel(model);
  EXPECT_TRUE(absl::IsFailedPrecondition(other_shape));
  EXPECT_NE(other_shape.message().find("wte.weight is [7, 5] there, [7, 6] here"), absl::string_view::npos)
      << other_shape;
  model[0] = {"wpe.weight", {7, 5}};
  const absl::Status other_name = loaded->CheckModel(model);
  EXPECT_NE(other_name.message().find("it lacks wpe.weight [7, 5]; it has wte.weight [7, 5]"), absl::string_view::npos)
      << other_name;

  float value = 5;
  EXPECT_TRUE(absl::IsFailedPrecondition(loaded->CopyInto("scalar", {2}, &value, nullptr, nullptr, nullptr)));
  EXPECT_TRUE(absl::IsFailedPrecondition(loaded->CopyInto("nothing", {1}, &value, nullptr, nullptr, nullptr)));
  EXPECT_EQ(value, 5);
  EXPECT_TRUE(absl::IsNotFound(loaded->Text("tokenizer.json").status()));
}

TEST_F(RoundTripTest, StatesTheFormatCannotHoldAreRefusedBeforeAnythingIsWritten) {
  const int64_t before = files_.operations();
  const auto refused = [&](auto change) {
    TestState state(kSeed);
    change(state.state());
    return absl::IsInvalidArgument(SaveFolder(files_, "run/x", state.state()).status());
  };
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].name = "../evil"; }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].name = "x.values"; }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].name = std::string(65, 'a'); }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].name = s.tensors[1].name; }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].shape = {0, 5}; }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].shape = {INT64_MAX, 5}; }));
  EXPECT_TRUE(refused([](State& s) { s.tensors[0].v = nullptr; }));
  EXPECT_TRUE(refused([](State& s) { s.step = -1; }));
  // Candidates: of another matrix, not ascending, none at all; a bitmap with bits behind their end.
  TestState active(kSeed, 10, Regime::kActive);
  const auto refused_candidates = [&](auto change) {
    OwnedTensor& t = active.tensors()[9];  // x.csr.weight
    kernels::Pattern copy = kernels::Pattern::Full(t.view.rows, t.view.cols);
    kernels::PatternView view = copy.view();
    std::vector<uint64_t> kept(view.words(), 0);
    change(copy, view, kept);
    State state = active.state();
    std::vector<float> values(view.rows * view.cols, 0.0f);
    state.tensors[9] = {t.name, t.shape, values.data(), nullptr, nullptr, kept.data(), &view};
    return absl::IsInvalidArgument(SaveFolder(files_, "run/x", state).status());
  };
  EXPECT_EQ(active.state().tensors[9].name, "x.csr.weight");
  EXPECT_TRUE(refused_candidates([](auto&, auto& view, auto&) { --view.rows; }));
  EXPECT_TRUE(refused_candidates([](auto&, auto& view, auto&) { ++view.cols; }));
  EXPECT_TRUE(refused_candidates([](auto& pattern, auto&, auto&) { pattern.col_indices()[70] = 0; }));
  EXPECT_TRUE(refused_candidates([](auto& pattern, auto&, auto&) { pattern.row_offsets()[3] = 1; }));
  EXPECT_TRUE(refused_candidates(
      [](auto& pattern, auto& view, auto&) { std::fill_n(pattern.row_offsets(), view.rows + 1, 0); }));
  EXPECT_TRUE(refused_candidates([](auto&, auto&, auto& kept) { kept.back() |= uint64_t{1} << 63; }));
  EXPECT_EQ(files_.operations(), before);
  EXPECT_TRUE(refused([](State& s) { s.texts["vocab"] = "\xff"; }));
  EXPECT_FALSE(*files_.Exists("run/x"));
}

TEST_F(RoundTripTest, EmptyAndForeignFoldersSaySo) {
  EXPECT_TRUE(absl::IsNotFound(LoadNewest(files_, "run", nullptr).status()));
  EXPECT_TRUE(absl::IsNotFound(LoadAny(files_, "run", nullptr).status()));
  EXPECT_TRUE(absl::IsNotFound(LoadAny(files_, "nowhere", nullptr).status()));
}

TEST(RealFileSystemTest, SavesAndLoadsOnDisk) {
  const std::string run = ::testing::TempDir() + "/filigree_checkpoint_round_trip";
  std::filesystem::remove_all(run);
  std::filesystem::create_directories(run);
  TestState state(kSeed), next(kSeed + 1, 11);
  for (TestState* s : {&state, &next}) {
    auto saved = Save(RealFileSystem(), run, s->state(), 1);
    ASSERT_TRUE(saved.ok()) << saved.status();
    auto loaded = LoadAny(RealFileSystem(), run, nullptr);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(Difference(*loaded, *s), "");
  }
  EXPECT_FALSE(std::filesystem::exists(run + "/checkpoints/step-0000000010"));

  // Any reader of safetensors can open the parts.
  auto file = SafetensorsFile::Open(run + "/checkpoints/step-0000000011/weights.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_NE(file->Find("h.0.c_attn.weight.values"), nullptr);
  EXPECT_EQ(file->Find("h.0.c_attn.weight.row_offsets")->shape, (Shape{34}));
  std::filesystem::remove_all(run);
}

TEST(RealFileSystemTest, AFullDiskIsResourceExhausted) {
  auto file = RealFileSystem().Create("/dev/full");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(absl::IsResourceExhausted((*file)->Append("x", 1)));
  EXPECT_TRUE(absl::IsNotFound(RealFileSystem().Create("/nowhere/at/all").status()));
}

}  // namespace
}  // namespace filigree::checkpoint
