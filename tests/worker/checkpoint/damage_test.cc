#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hashing.h"
#include "worker/checkpoint/manifest.h"

// Whatever happens to the bytes of a checkpoint is noticed, and an older good one is taken.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 53;

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.CreateFolder("run").ok());
    ASSERT_TRUE(Save(files_, "run", old_.state(), 2).ok());
    ASSERT_TRUE(Save(files_, "run", new_.state(), 2).ok());
  }

  bool Loads() { return Checkpoint::Load(files_, kNew).ok(); }

  // Every bit of every `stride`-th byte, or of all of the first `dense` bytes one bit.
  void ExpectEveryFlipFound(const std::string& name, size_t stride, size_t dense) {
    std::string& bytes = files_.Bytes(kNew + "/" + name);
    for (size_t at = 0; at < bytes.size(); at += at < dense ? 1 : stride) {
      for (int bit = at < dense ? static_cast<int>(at % 8) : 0; bit < 8; bit += at < dense ? 8 : 1) {
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        EXPECT_FALSE(Loads()) << name << " byte " << at << " bit " << bit;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      }
    }
    EXPECT_TRUE(Loads());
  }

  static constexpr char kNewPath[] = "run/checkpoints/step-0000000020";
  const std::string kNew = kNewPath;
  FaultFileSystem files_;
  TestState old_{kSeed, 10}, new_{kSeed + 1, 20, Regime::kActive};
};

TEST_F(DamageTest, EveryBitOfTheManifest) { ExpectEveryFlipFound("manifest.json", 1, 0); }
TEST_F(DamageTest, BitsOfTheWeights) { ExpectEveryFlipFound("weights.safetensors", 7, 3000); }
TEST_F(DamageTest, BitsOfTheMoments) { ExpectEveryFlipFound("moments.safetensors", 31, 3000); }

TEST_F(DamageTest, CutsAndAdditionsOfEveryFile) {
  for (const char* name : {"manifest.json", "weights.safetensors", "moments.safetensors"}) {
    std::string& bytes = files_.Bytes(kNew + "/" + name);
    const std::string whole = bytes;
    for (size_t length = 0; length < whole.size(); length += length < 100 || length + 100 > whole.size() ? 1 : 97) {
      bytes = whole.substr(0, length);
      EXPECT_FALSE(Loads()) << name << " cut to " << length;
    }
    bytes = whole + '\n';
    EXPECT_FALSE(Loads()) << name << " with a byte added";
    bytes = whole;
    EXPECT_TRUE(Loads());
  }
}

TEST_F(DamageTest, TheNewestGoodOneIsTakenWithAWarning) {
  files_.Bytes(kNew + "/moments.safetensors")[1234] ^= 4;
  std::vector<std::string> warnings;
  auto loaded = LoadNewest(files_, "run", &warnings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Difference(*loaded, old_), "");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("step-0000000020/moments.safetensors does not match its hash"), std::string::npos)
      << warnings[0];

  ASSERT_TRUE(files_.RemoveFile("run/checkpoints/step-0000000010/weights.safetensors").ok());
  warnings.clear();
  auto none = LoadNewest(files_, "run", &warnings);
  EXPECT_TRUE(absl::IsDataLoss(none.status())) << none.status();
  EXPECT_EQ(warnings.size(), 2u);
}

// A disk that does not answer for a moment, say. What was passed over would be removed by saves to come.
TEST_F(DamageTest, ACheckpointThatCannotBeReadNowIsNeitherLostNorHalfRead) {
  for (const absl::Status& error : {absl::UnknownError("input/output error"), absl::PermissionDeniedError("no"),
                                    absl::ResourceExhaustedError("too many open files")}) {
    for (const char* name : {"manifest.json", "weights.safetensors", "moments.safetensors"}) {
      files_.FailReadsOf(std::string("step-0000000020/") + name, error);
      std::vector<std::string> warnings;
      const absl::Status status = LoadNewest(files_, "run", &warnings).status();
      EXPECT_EQ(status.code(), error.code()) << status;
      EXPECT_NE(status.message().find("step-0000000020 is damaged"), std::string::npos) << status;
      EXPECT_TRUE(warnings.empty());
    }
  }
  files_.FailReadsOf("", absl::OkStatus());
  EXPECT_TRUE(Loads()) << "nothing was wrong with the bytes";
}

// Nor is one of a later program.
TEST_F(DamageTest, ACheckpointOfALaterFormatIsNotPassedOver) {
  std::string& bytes = files_.Bytes(kNew + "/manifest.json");
  const std::string now = "\"version\": 2";
  bytes.replace(bytes.find(now), now.size(), "\"version\": 9");
  const size_t hash = bytes.size() - 4 - 32;
  bytes.replace(hash, 32, Xxh3Hex(bytes.substr(0, hash)));
  std::vector<std::string> warnings;
  const absl::Status status = LoadNewest(files_, "run", &warnings).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(warnings.empty());
}

TEST_F(DamageTest, ADamagedNewestNeverPushesOutTheGoodOnes) {
  files_.Bytes(kNew + "/weights.safetensors")[4000] ^= 1;
  TestState next(kSeed + 2, 15);  // resumed from 10
  ASSERT_TRUE(Save(files_, "run", next.state(), 1).ok());
  auto loaded = LoadNewest(files_, "run", nullptr);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(Difference(*loaded, next), "");
}

// A manifest whose hashes are right may still lie: what it says is checked against the files.
class ForgedManifestTest : public DamageTest {
 protected:
  absl::Status LoadChanged(const std::string& from, const std::string& to) {
    std::string& bytes = files_.Bytes(kNew + "/manifest.json");
    const std::string whole = bytes;
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bytes.replace(at, from.size(), to);
    const size_t hash = bytes.size() - 4 - 32;
    bytes.replace(hash, 32, Xxh3Hex(bytes.substr(0, hash)));
    absl::Status status = Checkpoint::Load(files_, kNew).status();
    bytes = whole;
    return status;
  }
};

TEST_F(ForgedManifestTest, IsRefusedWithAReason) {
  EXPECT_TRUE(LoadChanged("\"step\": 20", "\"step\": 21").ok()) << "the forging itself works";
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadChanged("\"version\": 2", "\"version\": 4")));
  const auto candidates = [&](const std::string& number) { return "\"candidates\": " + number + ","; };
  const std::string found = candidates(fmt::format("{}", new_.tensors()[9].view.nnz()));  // x.csr.weight
  const std::pair<std::string, std::string> changes[] = {
      {"\"version\": 2", "\"version\": 1"},  // which knows no candidates
      {found, candidates("0")},
      {found, candidates("-1")},
      {found, candidates("1")},
      {found, candidates("2406")},  // more than elements
      {found, candidates("4294967297")},
      {found, candidates("\"many\"")},
      {found, ""},
      {"\"weight\": \"candidates\"", "\"weight\": \"dense\""},
      {"\"weight\": \"candidates\"", "\"weight\": \"csr\""},
      {"\"moments\": \"candidates\"", "\"moments\": \"dense\""},
      {"\"moments\": \"dense\"", "\"moments\": \"candidates\""},
      {"\"name\": \"x.csr.weight\"", "\"name\": \"x.cst.weight\""},
      {"\"shape\": [\n    37,\n    65\n   ]", "\"shape\": [\n    36,\n    65\n   ]"},
      {"\"shape\": [\n    37,\n    65\n   ]", "\"shape\": [\n    65537,\n    65\n   ]"},
      {"\"format\": \"filigree-checkpoint\"", "\"format\": \"other\""},
      {"\"step\": 20", "\"step\": -1"},
      {"\"step\": 20", "\"step\": 1e3"},
      {"\"weights.safetensors\"", "\"../weights.safetensors\""},
      {"\"weights.safetensors\"", "\"nothing.safetensors\""},
      {"\"role\": \"weights\"", "\"role\": \"other\""},
      {"\"name\": \"scalar\"", "\"name\": \"scales\""},
      {"\"name\": \"scalar\"", "\"name\": \"a/b\""},
      {"\"weight\": \"csr\"", "\"weight\": \"dense\""},
      {"\"weight\": \"csr\"", "\"weight\": \"coo\""},
      {"\"mask\": \"bitmap\"", "\"mask\": \"none, or so\""},
      {"\"shape\": [\n    131\n   ]", "\"shape\": [\n    132\n   ]"},
      {"\"shape\": [\n    131\n   ]", "\"shape\": [\n    0\n   ]"},
      {"\"shape\": [\n    131\n   ]", "\"shape\": [9223372036854775807, 9223372036854775807]"},
      {"\"kept\": 0", "\"kept\": 5"},
      // Without a selection every entry is kept: nobody may look for a bitmap.
      {"\"kept\": 35,\n   \"mask\": \"none\"", "\"kept\": 34,\n   \"mask\": \"none\""},
      {"\"kept\": 35,\n   \"mask\": \"none\"", "\"kept\": 0,\n   \"mask\": \"none\""},
      {"\"vocab\": \"2048\"", "\"vocab\": 2048"},
      {"\"odd\": \"7ff4000000000123\"", "\"odd\": \"7ff40000000001\""},
      {"\"tensors\": [", "\"tensors\": {}, \"more\": ["},
  };
  for (const auto& [from, to] : changes) {
    const absl::Status status = LoadChanged(from, to);
    EXPECT_TRUE(absl::IsDataLoss(status)) << from << " -> " << to << ": " << status;
  }
  EXPECT_TRUE(absl::IsDataLoss(LoadChanged("\"texts\": {", std::string(100000, '[')))) << "deep nesting";
}

// Data files with right hashes but senseless indices.
class SenselessTest : public DamageTest {
 protected:
  // Overwrites entry `at` of a component and its hashes: what reading the tensor says then, in every way of reading it.
  template <typename T>
  absl::Status Forge(const std::string& role, const std::string& tensor, const std::string& component, size_t at,
                     T value) {
    std::string& bytes = files_.Bytes(kNew + "/" + role + ".safetensors");
    std::string& manifest = files_.Bytes(kNew + "/manifest.json");
    const std::string whole = bytes, whole_manifest = manifest;
    auto file = files_.OpenForRead(kNew + "/" + role + ".safetensors");
    auto header = ReadSafetensorsHeader(**file, role);
    const TensorEntry* entry = header->Find(tensor + component);
    EXPECT_NE(entry, nullptr) << tensor + component;
    EXPECT_LE((at + 1) * sizeof(T), entry->end - entry->begin);
    std::memcpy(bytes.data() + entry->begin + at * sizeof(T), &value, sizeof(T));
    manifest.replace(manifest.find(Xxh3Hex(whole)), 32, Xxh3Hex(bytes));
    const size_t hash = manifest.size() - 4 - 32;
    manifest.replace(hash, 32, Xxh3Hex(manifest.substr(0, hash)));
    absl::Status status = ReadEveryWay(tensor);
    bytes = whole;
    manifest = whole_manifest;
    return status;
  }

  absl::Status ReadEveryWay(const std::string& name) {
    auto loaded = Checkpoint::Load(files_, kNew);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    const Shape shape = loaded->Find(name)->shape;
    const size_t n = Elements(shape);
    std::vector<float> weight(n), m(n), v(n);
    absl::Status status = loaded->CopyInto(name, shape, weight.data(), m.data(), v.data(), nullptr);
    EXPECT_EQ(loaded->CopyCandidates(name, shape).status().code(), status.code());
    EXPECT_EQ(StateSha256(*loaded, 1).ok(), status.ok());
    if (!status.ok()) {
      EXPECT_NE(status.message().find(name), absl::string_view::npos) << status;
    }
    return status;
  }
};

TEST_F(SenselessTest, IndicesOfEntriesAreRefused) {
  const auto forge = [&](const std::string& component, size_t at, int32_t value) {
    return Forge("weights", "h.0.c_attn.weight", component, at, value);
  };
  EXPECT_TRUE(absl::IsDataLoss(forge(".col_indices", 0, -1)));
  EXPECT_TRUE(absl::IsDataLoss(forge(".col_indices", 3, 65)));
  EXPECT_TRUE(absl::IsDataLoss(forge(".col_indices", 0, 64)));
  EXPECT_TRUE(absl::IsDataLoss(forge(".row_offsets", 0, 1)));
  EXPECT_TRUE(absl::IsDataLoss(forge(".row_offsets", 5, 1 << 20)));
  EXPECT_TRUE(absl::IsDataLoss(forge(".row_offsets", 33, 1)));
}

TEST_F(SenselessTest, CandidatesAreRefused) {
  const std::string name = "x.csr.weight";
  const OwnedTensor& t = new_.tensors()[9];
  ASSERT_EQ(t.name, name);
  ASSERT_TRUE(ReadEveryWay(name).ok());
  const std::string columns = ".candidates.col_indices", offsets = ".candidates.row_offsets";
  const auto column = [&](size_t at, uint16_t value) { return Forge("moments", name, columns, at, value); };
  const auto offset = [&](size_t at, int32_t value) { return Forge("moments", name, offsets, at, value); };
  EXPECT_TRUE(absl::IsDataLoss(column(0, 64))) << "not ascending";
  EXPECT_TRUE(absl::IsDataLoss(column(1, t.view.col_indices[0]))) << "twice";
  EXPECT_TRUE(absl::IsDataLoss(column(t.view.nnz() - 1, 65))) << "outside";
  EXPECT_TRUE(absl::IsDataLoss(column(t.view.row_offsets[5] - 1, 65535)));
  EXPECT_TRUE(absl::IsDataLoss(offset(0, 1)));
  EXPECT_TRUE(absl::IsDataLoss(offset(0, -1)));
  EXPECT_TRUE(absl::IsDataLoss(offset(7, 1 << 30)));
  EXPECT_TRUE(absl::IsDataLoss(offset(37, 5)));
  EXPECT_TRUE(absl::IsDataLoss(offset(37, static_cast<int32_t>(t.view.nnz()) + 1)));
  // A row more and a row less: sums stay, rows do not ascend or keep what is none of theirs.
  EXPECT_TRUE(absl::IsDataLoss(offset(5, static_cast<int32_t>(t.view.row_offsets[6]))));
}

// No selection tells on these: none of them is kept.
TEST_F(SenselessTest, CandidatesOfTheReserveAreRefused) {
  const std::string name = "x.empty.weight", columns = ".candidates.col_indices";
  const OwnedTensor& t = new_.tensors()[11];
  ASSERT_EQ(t.name, name);
  ASSERT_TRUE(ReadEveryWay(name).ok());
  int twice = 0;
  for (int r = 0; r < t.view.rows; ++r) {
    const uint32_t begin = t.view.row_offsets[r], end = t.view.row_offsets[r + 1];
    if (begin == end) continue;
    EXPECT_TRUE(absl::IsDataLoss(Forge<uint16_t>("moments", name, columns, end - 1, 7))) << "outside";
    if (end - begin < 2) continue;
    EXPECT_TRUE(absl::IsDataLoss(Forge("moments", name, columns, begin + 1, t.view.col_indices[begin]))) << "twice";
    EXPECT_TRUE(absl::IsDataLoss(Forge<uint16_t>("moments", name, columns, begin, 6))) << "not ascending";
    ++twice;
  }
  EXPECT_GT(twice, 5);
  EXPECT_TRUE(absl::IsDataLoss(Forge("moments", name, ".candidates.row_offsets", 4, int32_t{1} << 20)));
}

TEST_F(SenselessTest, SelectionsThatAreNoPartOfTheCandidatesAreRefused) {
  const OwnedTensor& t = new_.tensors()[9];
  // The first kept entry moves to a column in front of the first candidate, or between candidates.
  const std::vector<int64_t> indices = t.Indices();
  int tried = 0;
  for (size_t i = 0, kept = 0; i < indices.size(); ++i) {
    if (!t.IsKept(i)) continue;
    const int64_t before = i == 0 ? -1 : indices[i - 1], col = indices[i] % t.view.cols;
    if (col > 0 && before < indices[i] - 1) {
      EXPECT_TRUE(absl::IsDataLoss(Forge("weights", t.name, ".col_indices", kept, static_cast<int32_t>(col - 1))));
      ++tried;
    }
    ++kept;
  }
  EXPECT_GT(tried, 20);

  const OwnedTensor& stray = new_.tensors().back();
  ASSERT_EQ(stray.name, "x.stray.weight");
  ASSERT_NE(stray.view.nnz() % 8, 0) << "no unused bits";
  const auto last = static_cast<size_t>(stray.view.nnz() / 8);
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(stray.kept[at / 8] >> (at % 8 * 8)); };
  EXPECT_TRUE(absl::IsDataLoss(Forge<uint8_t>("weights", stray.name, ".kept", last, byte(last) | 0x80)));
  EXPECT_TRUE(absl::IsDataLoss(Forge<uint8_t>("weights", stray.name, ".kept", 0, byte(0) ^ 1)));
}

}  // namespace
}  // namespace filigree::checkpoint
