#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/worker/interop/small_model.h"
#include "worker/interop/export.h"
#include "worker/interop/import.h"
#include "worker/interop/torch_file.h"

// Out as the released files and back in: exactly the released keys, exactly the same values.

namespace filigree::interop {
namespace {

constexpr uint64_t kSeed = 23;

std::set<std::string> ReleasedNames(int layers, bool positions, bool sink, bool bigram) {
  std::set<std::string> names = {"transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight",
                                 "lm_head.weight", "final_logits_bias"};
  if (bigram) names.insert("bigram_table");
  for (int i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("transformer.h.{}.", i);
    for (const char* name :
         {"ln_1.weight", "ln_2.weight", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight",
          "attn.c_proj.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"}) {
      names.insert(layer + name);
    }
    if (positions) names.insert({layer + "ln_p1.weight", layer + "ln_p2.weight"});
    if (sink) names.insert(layer + "attn.attn_imp.sink_logit");
  }
  return names;
}

class ExportImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Path(const std::string& name) const { return dir_ + "/" + name; }

  // Exports and imports; the folders are DIR/out and DIR/back.
  ImportResult RoundTrip(const SmallModel& model, Format format) {
    for (const char* name : {"out", "back"}) std::filesystem::remove_all(Path(name));
    const checkpoint::Checkpoint saved = SaveSmallModel(model, Path("saved"));
    auto written = ExportCheckpoint(saved, format, Path("out"));
    EXPECT_TRUE(written.ok()) << written.status();
    auto imported = ImportModel(Path("out"), Path("back"));
    EXPECT_TRUE(imported.ok()) << imported.status();
    return imported.ok() ? *imported : ImportResult{};
  }

  void ExpectSameWeights(const SmallModel& model, const std::string& folder) {
    auto loaded = checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), folder);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->tensors().size(), model.weights.size());
    for (const auto& [name, expected] : model.weights) {
      std::vector<float> w(expected.size(), 7), m(expected.size(), 7);
      ASSERT_TRUE(loaded->CopyInto(name, model.shapes.at(name), w.data(), m.data(), nullptr, nullptr).ok()) << name;
      EXPECT_EQ(std::memcmp(w.data(), expected.data(), w.size() * sizeof(float)), 0) << name;
      EXPECT_EQ(m, std::vector<float>(m.size(), 0)) << name;
    }
  }

  const std::string dir_ = ::testing::TempDir() + "/filigree_export_import_test";
};

std::vector<config::ModelSettings> Variants() {
  std::vector<config::ModelSettings> variants(4, SmallSettings());
  variants[1].sink = true;
  variants[1].activation = config::Activation::kRelu;
  variants[2].bigram = false;
  variants[2].afrac = 1;
  variants[3].d_pos_emb = 5;
  variants[3].sink = true;
  return variants;
}

TEST_F(ExportImportTest, EveryVariantInBothFormats) {
  for (const config::ModelSettings& settings : Variants()) {
    const SmallModel model = MakeSmallModel(settings, kSeed);
    for (const Format format : {Format::kOpenAi, Format::kHuggingFace}) {
      const ImportResult result = RoundTrip(model, format);
      EXPECT_TRUE(result.notes.empty());
      EXPECT_EQ(result.tensors, static_cast<int64_t>(model.weights.size()));
      ExpectSameWeights(model, Path("back"));
      auto loaded = checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), Path("back"));
      auto back = config::Parse(*loaded->Text(checkpoint::texts::kConfig), "config.toml");
      ASSERT_TRUE(back.ok()) << back.status();
      config::Settings before, after;
      before.model = model.settings.model;
      after.model = back->model;
      EXPECT_EQ(config::ToToml(before), config::ToToml(after));
      EXPECT_EQ(*loaded->Text(checkpoint::texts::kVocab), "33");
      EXPECT_EQ(loaded->step(), 0);
      EXPECT_TRUE(loaded->Find("transformer.h.0.mlp.c_fc.weight")->has_mask);
    }
  }
}

// A checkpoint of the active regime is exported as that of a run with the same weights: byte by byte.
TEST_F(ExportImportTest, CandidatesDoNotShowInTheExport) {
  const SmallModel model = MakeSmallModel(SmallSettings(), kSeed);
  const auto saved_exact = SaveSmallModel(model, Path("exact"));
  const auto saved_active = SaveSmallModel(model, Path("active"), {}, Regime::kActive);
  ASSERT_GT(saved_active.Find("transformer.h.1.mlp.c_fc.weight")->candidates, 0);
  for (const Format format : {Format::kOpenAi, Format::kHuggingFace}) {
    for (const char* name : {"of_exact", "of_active"}) std::filesystem::remove_all(Path(name));
    ASSERT_TRUE(ExportCheckpoint(saved_exact, format, Path("of_exact")).ok());
    const auto written = ExportCheckpoint(saved_active, format, Path("of_active"));
    ASSERT_TRUE(written.ok()) << written.status();
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(Path("of_exact"))) {
      const std::string name = entry.path().filename();
      EXPECT_EQ(*checkpoint::ReadFile(checkpoint::RealFileSystem(), Path("of_exact/" + name), 1 << 20),
                *checkpoint::ReadFile(checkpoint::RealFileSystem(), Path("of_active/" + name), 1 << 20))
          << name;
      ++files;
    }
    EXPECT_GE(files, 2);
  }
}

TEST_F(ExportImportTest, TheKeySetIsExactlyTheReleasedOne) {
  for (const config::ModelSettings& settings : Variants()) {
    const SmallModel model = MakeSmallModel(settings, kSeed);
    const std::set<std::string> expected =
        ReleasedNames(static_cast<int>(settings.n_layer), settings.d_pos_emb > 0, settings.sink, settings.bigram);
    RoundTrip(model, Format::kOpenAi);
    auto torch = TorchFile::Open(Path("out/final_model.pt"));
    ASSERT_TRUE(torch.ok()) << torch.status();
    std::set<std::string> names;
    for (const PickledTensor& tensor : torch->tensors()) {
      names.insert(tensor.name);
      EXPECT_EQ(tensor.dtype, checkpoint::DType::kF32);
      const auto values = torch->ToFloats(tensor);
      const auto ours = model.weights.find(tensor.name);
      if (ours == model.weights.end()) {
        EXPECT_EQ(*values, std::vector<float>(values->size(), 0)) << tensor.name;
      } else {
        EXPECT_EQ(std::memcmp(values->data(), ours->second.data(), values->size() * sizeof(float)), 0) << tensor.name;
      }
    }
    EXPECT_EQ(names, expected);

    RoundTrip(model, Format::kHuggingFace);
    auto file = checkpoint::SafetensorsFile::Open(Path("out/model.safetensors"));
    ASSERT_TRUE(file.ok());
    names.clear();
    for (const checkpoint::TensorView& tensor : file->tensors()) {
      ASSERT_TRUE(tensor.name.starts_with("circuit_model."));
      names.insert(tensor.name.substr(14));
    }
    EXPECT_EQ(names, expected);
    EXPECT_EQ(file->metadata().at("format"), "pt");
  }
}

TEST_F(ExportImportTest, ATableOfPositionsIsWrittenEvenWithoutPositions) {
  const auto tensors = ReleasedTensors(*model::MakeSpec(SmallSettings(), 33), Format::kOpenAi);
  const auto wpe = std::find_if(tensors.begin(), tensors.end(),
                                [](const ReleasedTensor& t) { return t.name == "transformer.wpe.weight"; });
  ASSERT_NE(wpe, tensors.end());
  EXPECT_EQ(wpe->shape, (checkpoint::Shape{12, 16}));
  EXPECT_TRUE(wpe->ours.empty());
}

// Somebody else's Hugging Face folder, to be bent.
class ForeignFolderTest : public ExportImportTest {
 protected:
  struct Entry {
    checkpoint::DType dtype = checkpoint::DType::kF32;
    checkpoint::Shape shape;
    std::vector<uint8_t> bytes;
  };

  void SetUp() override {
    ExportImportTest::SetUp();
    RoundTrip(model_, Format::kHuggingFace);
    auto file = checkpoint::SafetensorsFile::Open(Path("out/model.safetensors"));
    ASSERT_TRUE(file.ok());
    for (const checkpoint::TensorView& t : file->tensors()) {
      entries_[t.name] = {t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}};
    }
  }

  absl::Status Import() {
    std::vector<checkpoint::TensorData> tensors;
    for (const auto& [name, entry] : entries_) {
      tensors.push_back({name, entry.dtype, entry.shape, entry.bytes.data()});
    }
    EXPECT_TRUE(checkpoint::WriteSafetensors(Path("out/model.safetensors"), tensors).ok());
    std::filesystem::remove_all(Path("back"));
    return ImportModel(Path("out"), Path("back")).status();
  }

  void ExpectRefused(const std::string& reason) {
    const absl::Status status = Import();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(status.message().find(reason), absl::string_view::npos) << reason << ": " << status;
    EXPECT_FALSE(std::filesystem::exists(Path("back")));
  }

  const std::string kLnF = "circuit_model.transformer.ln_f.weight";
  const SmallModel model_ = MakeSmallModel(SmallSettings(), kSeed);
  std::map<std::string, Entry> entries_;
};

TEST_F(ForeignFolderTest, NamesWithoutPrefixAndMasksOfOldVersionsAreTaken) {
  std::map<std::string, Entry> plain;
  for (auto& [name, entry] : entries_) plain[name.substr(14)] = entry;
  plain["transformer.h.0.attn.bias"] = {checkpoint::DType::kBool, {1, 1, 12, 12}, std::vector<uint8_t>(144, 1)};
  plain.erase("final_logits_bias");
  plain.erase("transformer.wpe.weight");
  entries_ = plain;
  EXPECT_TRUE(Import().ok());
  ExpectSameWeights(model_, Path("back"));
}

TEST_F(ForeignFolderTest, SixteenBitWeightsBecomeFloats) {
  Entry& entry = entries_[kLnF];
  entry.dtype = checkpoint::DType::kBF16;
  entry.bytes.assign(32, 0);
  entry.bytes[2] = 0x80;  // the second element: 0xbf80 = -1
  entry.bytes[3] = 0xbf;
  EXPECT_TRUE(Import().ok());
  auto loaded = checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), Path("back"));
  float gain[16];
  ASSERT_TRUE(loaded->CopyInto("transformer.ln_f.weight", {16}, gain, nullptr, nullptr, nullptr).ok());
  EXPECT_EQ(gain[0], 0.0f);
  EXPECT_EQ(gain[1], -1.0f);
}

TEST_F(ForeignFolderTest, WhatIsNotThisModelIsRefusedByName) {
  const auto whole = entries_;
  entries_.erase(kLnF);
  ExpectRefused("'transformer.ln_f.weight' is missing");
  entries_["circuit_model.transformer.ln_f.wieght"] = whole.at(kLnF);
  ExpectRefused("transformer.ln_f.wieght");
  entries_ = whole;
  entries_[kLnF].shape = {4, 4};
  ExpectRefused("transformer.ln_f.weight is [4, 4], by the configuration it should be [16]");
  entries_ = whole;
  entries_["circuit_model.transformer.wpe.weight"].bytes[5] = 1;
  ExpectRefused("positions added to the embedding");
  entries_ = whole;
  entries_["circuit_model.final_logits_bias"].bytes[5] = 1;
  ExpectRefused("a bias on the logits");
  entries_ = whole;
  entries_["transformer.ln_f.weight"] = whole.at(kLnF);
  EXPECT_TRUE(absl::IsDataLoss(Import())) << "the same tensor with and without prefix";
}

TEST_F(ForeignFolderTest, FoldersThatHoldSomethingAndFoldersThatHoldNothing) {
  const absl::Status full = ImportModel(Path("out"), Path("back")).status();
  EXPECT_TRUE(absl::IsInvalidArgument(full)) << full;
  std::filesystem::create_directories(Path("empty"));
  EXPECT_TRUE(absl::IsNotFound(ImportModel(Path("empty"), Path("new")).status()));
  EXPECT_TRUE(absl::IsNotFound(ImportModel(Path("nothing"), Path("new")).status()));
  EXPECT_FALSE(std::filesystem::exists(Path("new")));
  EXPECT_TRUE(ImportModel(Path("out"), Path("empty")).ok()) << "an empty folder is as good as a new one";
}

TEST_F(ForeignFolderTest, ATokenizerThatDoesNotFitIsLeftOutWithANote) {
  std::ofstream(Path("out/tokenizer.json")) << "{\"model\": {\"type\": \"WordPiece\"}}";
  std::filesystem::remove_all(Path("back"));
  auto result = ImportModel(Path("out"), Path("back"));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->notes.size(), 1u);
  EXPECT_NE(result->notes[0].find("tokenizer"), std::string::npos);
}

TEST_F(ExportImportTest, DamagedTorchFilesAreRefused) {
  RoundTrip(MakeSmallModel(SmallSettings(), kSeed), Format::kOpenAi);
  const std::string path = Path("out/final_model.pt");
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  // The bytes of all tensors, or why the file cannot be opened.
  const auto open = [&](const std::string& bytes) -> absl::StatusOr<std::string> {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    auto torch = TorchFile::Open(path);
    if (!torch.ok()) return torch.status();
    std::string all;
    for (const PickledTensor& tensor : torch->tensors()) {
      const auto values = torch->ToFloats(tensor);
      all.append(reinterpret_cast<const char*>(values->data()), values->size() * sizeof(float));
    }
    return all;
  };
  const auto sound = open(whole);
  ASSERT_TRUE(sound.ok()) << sound.status();
  for (size_t length = 0; length < whole.size(); length += 501) {
    EXPECT_TRUE(absl::IsDataLoss(open(whole.substr(0, length)).status())) << length;
  }
  int found = 0;
  for (size_t at = 0; at < whole.size(); at += 197) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 16);
    const auto opened = open(changed);
    found += !opened.ok();
    // Only padding and fields that nobody reads may change unseen.
    if (opened.ok()) {
      EXPECT_EQ(*opened, *sound) << "byte " << at;
    }
  }
  EXPECT_GT(found, 50);
}

TEST_F(ExportImportTest, ACheckpointThatIsNotItsOwnModelIsNotExported) {
  SmallModel model = MakeSmallModel(SmallSettings(), kSeed);
  model.settings.model.n_layer = 3;
  const checkpoint::Checkpoint saved = SaveSmallModel(model, Path("saved"));
  EXPECT_TRUE(absl::IsFailedPrecondition(ExportCheckpoint(saved, Format::kOpenAi, Path("out")).status()));
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

TEST_F(ExportImportTest, AFullDiskLeavesNoHalfFile) {
  const checkpoint::Checkpoint saved = SaveSmallModel(MakeSmallModel(SmallSettings(), kSeed), Path("saved"));
  std::filesystem::create_directories(Path("out"));
  std::filesystem::create_symlink("/dev/full", Path("out/final_model.pt.tmp"));
  EXPECT_TRUE(absl::IsResourceExhausted(ExportCheckpoint(saved, Format::kOpenAi, Path("out")).status()));
  EXPECT_TRUE(std::filesystem::is_empty(Path("out")));
}

}  // namespace
}  // namespace filigree::interop
