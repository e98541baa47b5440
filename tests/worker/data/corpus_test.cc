#include "worker/data/corpus.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/data/random_text.h"
#include "tests/worker/data/temp_folder.h"
#include "worker/data/prepare.h"

namespace filigree::data {
namespace {

namespace fs = std::filesystem;

// A small corpus that each test damages in its own copy.
class CorpusTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TempFolder;
    std::mt19937_64 rng(21);
    for (int i = 0; i < 12; ++i) shared_->Write("in/" + std::to_string(i) + ".py", RandomCode(rng, 40));
    PrepareOptions options;
    options.inputs = {*shared_ / "in"};
    options.out = *shared_ / "out";
    options.vocab = 300;
    options.val_fraction = 0.3;
    options.threads = 1;
    options.shard_tokens = 3000;
    const auto manifest = Prepare(options, {});
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    ASSERT_GT(manifest->train.shards.size(), 1u);
  }
  static void TearDownTestSuite() { delete shared_; }

  void SetUp() override { fs::copy(*shared_ / "out", dir_, fs::copy_options::recursive); }

  // Opens and expects DataLoss, naming `file`.
  void ExpectDataLoss(const std::string& file) {
    const auto corpus = Corpus::Open(dir_);
    ASSERT_TRUE(absl::IsDataLoss(corpus.status())) << corpus.status();
    EXPECT_NE(std::string(corpus.status().message()).find(file), std::string::npos) << corpus.status();
  }

  static TempFolder* shared_;
  TempFolder folder_;
  std::string dir_ = folder_ / "corpus";
};

TempFolder* CorpusTest::shared_ = nullptr;

TEST_F(CorpusTest, OpensWhole) {
  const auto corpus = Corpus::Open(dir_);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  const Manifest& m = (*corpus)->manifest();
  EXPECT_EQ(m.vocab, 300);
  EXPECT_EQ((*corpus)->tokenizer().vocab_size(), 300);
  EXPECT_EQ((*corpus)->train().size(), m.train.tokens);
  EXPECT_EQ((*corpus)->validation().size(), m.validation.tokens);
  EXPECT_EQ((*corpus)->digest().size(), 64u);
  EXPECT_NEAR((*corpus)->validation_bytes_per_token() * static_cast<double>(m.validation.tokens),
              static_cast<double>(m.validation.bytes), 1e-6);
  EXPECT_NEAR(BitsPerByte(m.baselines.bigram_nats, (*corpus)->validation_bytes_per_token()),
              m.baselines.bigram_bits_per_byte, 1e-12);
}

// A large one takes minutes, and whoever watches is to know that it is read.
TEST_F(CorpusTest, TicksForEveryShardAtLeastTwice) {
  size_t ticks = 0;
  const auto corpus = Corpus::Open(dir_, [&] { ++ticks; });
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  const Manifest& m = (*corpus)->manifest();
  EXPECT_GE(ticks, 2 * (m.train.shards.size() + m.validation.shards.size()));
}

TEST_F(CorpusTest, MissingFoldersAndManifestsSayHowToMakeOne) {
  const auto missing = Corpus::Open(dir_ + "/nowhere");
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_NE(std::string(missing.status().message()).find("filigree prepare"), std::string::npos);
  fs::remove(dir_ + "/manifest.json");
  EXPECT_TRUE(absl::IsNotFound(Corpus::Open(dir_).status()));
}

TEST_F(CorpusTest, AMissingTruncatedOrForeignShardIsNamed) {
  const std::string shard = dir_ + "/train_000001.bin";
  const std::string good = ReadAll(shard);
  fs::resize_file(shard, good.size() - 2);
  ExpectDataLoss("train_000001.bin");
  fs::resize_file(shard, 100);
  ExpectDataLoss("train_000001.bin");
  folder_.Write("corpus/train_000001.bin", "#!/bin/sh\n" + std::string(5000, '#'));
  ExpectDataLoss("train_000001.bin");
  fs::remove(shard);
  EXPECT_TRUE(absl::IsNotFound(Corpus::Open(dir_).status()));
  folder_.Write("corpus/train_000001.bin", good);
  EXPECT_TRUE(Corpus::Open(dir_).ok());
}

TEST_F(CorpusTest, AShardOfAnotherLengthDisagreesWithTheManifest) {
  fs::copy_file(dir_ + "/train_000000.bin", dir_ + "/val_000000.bin", fs::copy_options::overwrite_existing);
  ExpectDataLoss("manifest says");
}

TEST_F(CorpusTest, OneFlippedTokenIsFoundByItsHash) {
  std::string bytes = ReadAll(dir_ + "/val_000000.bin");
  bytes[1500] = static_cast<char>(bytes[1500] ^ 1);
  folder_.Write("corpus/val_000000.bin", bytes);
  ExpectDataLoss("val_000000.bin");
}

TEST_F(CorpusTest, ATokenBeyondTheVocabularyIsCalledThat) {
  std::string bytes = ReadAll(dir_ + "/val_000000.bin");
  bytes[1501] = static_cast<char>(0xFF);
  folder_.Write("corpus/val_000000.bin", bytes);
  ExpectDataLoss("not below the vocabulary");
}

TEST_F(CorpusTest, AnotherTokenizerIsRefused) {
  std::string merges = ReadAll(dir_ + "/vocab.bpe");
  fs::remove(dir_ + "/tokenizer.json");
  EXPECT_TRUE(Corpus::Open(dir_).ok()) << "the other two files are the same tokenizer";
  const size_t last = merges.rfind('\n', merges.size() - 2);
  folder_.Write("corpus/vocab.bpe", merges.substr(0, last + 1));
  ExpectDataLoss("encoder.json");
}

TEST_F(CorpusTest, ADamagedManifestIsNamedByKey) {
  const nlohmann::json good = nlohmann::json::parse(ReadAll(dir_ + "/manifest.json"));
  const auto damage = [&](const std::string& pointer, const nlohmann::json& value, const std::string& named) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    folder_.Write("corpus/manifest.json", bad.dump());
    ExpectDataLoss(named);
  };
  damage("/format", "other", "format");
  damage("/version", 2, "version");
  damage("/tokenizer/vocab", "300", "tokenizer/vocab");
  damage("/tokenizer/vocab", 1e300, "tokenizer/vocab");
  damage("/tokenizer/vocab", UINT64_MAX, "tokenizer/vocab");
  damage("/train", nlohmann::json::array(), "train/documents");
  damage("/train/tokens", -1, "train/tokens");
  damage("/train/tokens", good["train"]["tokens"].get<int64_t>() + 1, "manifest says");
  damage("/train/shards", 7, "train/shards");
  damage("/train/shards/0", "x", "train/shards/0");
  damage("/train/shards/0/name", "../../etc/passwd", "plain file name");
  damage("/train/shards/0/sha256", std::string(64, '0'), "content_sha256");
  damage("/content_sha256", "short", "content_sha256");
  damage("/validation_baselines/unigram", nullptr, "unigram");
  for (const char* text : {"", "{", "[]", "null", "\xFF"}) {
    folder_.Write("corpus/manifest.json", text);
    ExpectDataLoss("manifest.json");
  }
}

TEST_F(CorpusTest, AnyDamagedManifestIsRefusedOrMeansTheSameTokens) {
  const std::string good = ReadAll(dir_ + "/manifest.json");
  const std::string digest = Corpus::Open(dir_).value()->digest();
  std::mt19937_64 rng(22);
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    bad[rng() % bad.size()] = static_cast<char>(rng() % 256);
    if (round % 4 == 0) bad.resize(rng() % bad.size());
    const absl::StatusOr<Manifest> manifest = ParseManifest(bad, "bad");
    if (manifest.ok()) {
      EXPECT_EQ(manifest->content_sha256, digest);
    }
  }
}

}  // namespace
}  // namespace filigree::data
