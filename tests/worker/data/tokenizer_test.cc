#include "worker/data/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/data/random_text.h"
#include "tests/worker/data/temp_folder.h"
#include "worker/data/bpe_trainer.h"
#include "worker/data/byte_alphabet.h"
#include "worker/data/encoder.h"
#include "worker/data/pre_tokenizer.h"
#include "worker/data/tokenizer_files.h"

namespace filigree::data {
namespace {

using Ids = std::vector<uint16_t>;

uint16_t Id(char c) { return IdsOfBytes()[static_cast<uint8_t>(c)]; }

Tokenizer MakeTokenizer(const std::string& text, int merges) {
  WordCounts words;
  PreTokenizer().ForEach(text, [&](std::string_view word) { words.Add(word); });
  return Tokenizer::FromMerges(TrainBpe(words, merges, {}).value()).value();
}

const Tokenizer& CodeTokenizer() {
  static const Tokenizer tokenizer = [] {
    std::mt19937_64 rng(11);
    return MakeTokenizer(RandomCode(rng, 2000) + HostileText(rng, 5000), 600);
  }();
  return tokenizer;
}

// What the files of a tokenizer are written from: the bytes of every id but the end of text.
std::vector<std::string> BytesOfTokens(const Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  tokens.reserve(tokenizer.end_of_text());
  for (int id = 0; id < tokenizer.end_of_text(); ++id) tokens.push_back(tokenizer.TokenBytes(id));
  return tokens;
}

// The definition: rank after rank, everywhere, from left to right.
Ids EncodeByDefinition(const Tokenizer& tokenizer, std::string_view word) {
  Ids ids;
  for (const char c : word) ids.push_back(Id(c));
  for (size_t rank = 0; rank < tokenizer.merges().size(); ++rank) {
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      if (Merge(ids[i], ids[i + 1]) != tokenizer.merges()[rank]) continue;
      ids[i] = static_cast<uint16_t>(256 + rank);
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
  }
  return ids;
}

TEST(TokenizerTest, WithoutMergesEveryByteIsAnId) {
  const Tokenizer tokenizer = Tokenizer::FromMerges({}).value();
  EXPECT_EQ(tokenizer.vocab_size(), 257);
  EXPECT_EQ(tokenizer.end_of_text(), 256);
  EXPECT_EQ(tokenizer.Encode("! ~"), (Ids{0, 220, 93}));
  EXPECT_EQ(tokenizer.TokenBytes(256), "<|endoftext|>");
  EXPECT_EQ(tokenizer.Decode(Ids{0, 256}), "!<|endoftext|>");
}

TEST(TokenizerTest, MergesByRankInsidePreTokens) {
  const Tokenizer tokenizer = Tokenizer::FromMerges({{Id('b'), Id('c')}, {Id('a'), Id('b')}, {Id('a'), 256}}).value();
  EXPECT_EQ(tokenizer.Encode("abc"), (Ids{258})) << "bc first, then a with bc";
  EXPECT_EQ(tokenizer.Encode("abb"), (Ids{257, Id('b')}));
  EXPECT_EQ(tokenizer.Encode("ab c"), (Ids{257, Id(' '), Id('c')})) << "never across pre-tokens";
}

TEST(TokenizerTest, EncodesAsDefined) {
  std::mt19937_64 rng(5);
  const Tokenizer runs = MakeTokenizer(std::string(300, 'a') + " " + std::string(40, 'b') + " abab aab bba", 12);
  for (int round = 0; round < 400; ++round) {
    // Both sides of the length at which the algorithm changes.
    const std::string word = RandomWord(rng, 120, 2);
    Ids ids;
    runs.EncodePreToken(word, ids);
    ASSERT_EQ(ids, EncodeByDefinition(runs, word)) << word;
    const std::string bytes = RandomBytes(rng, 1 + static_cast<int>(rng() % 100));
    ids.clear();
    CodeTokenizer().EncodePreToken(bytes, ids);
    ASSERT_EQ(ids, EncodeByDefinition(CodeTokenizer(), bytes));
  }
}

TEST(TokenizerTest, RoundTripsHostileTextAndRandomBytes) {
  std::mt19937_64 rng(6);
  for (int round = 0; round < 200; ++round) {
    const std::string text = round % 2 == 0 ? HostileText(rng, 700) : RandomBytes(rng, 2000);
    const Ids ids = CodeTokenizer().Encode(text);
    ASSERT_EQ(CodeTokenizer().Decode(ids), text);
    ASSERT_EQ(std::count(ids.begin(), ids.end(), CodeTokenizer().end_of_text()), 0);
  }
}

TEST(TokenizerTest, EndOfTextInATextIsOrdinaryText) {
  const Ids ids = CodeTokenizer().Encode("a<|endoftext|>b");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), CodeTokenizer().end_of_text()), 0);
  EXPECT_EQ(CodeTokenizer().Decode(ids), "a<|endoftext|>b");
}

TEST(TokenizerTest, EncoderGivesTheSameIds) {
  std::mt19937_64 rng(7);
  Encoder encoder(CodeTokenizer());
  for (int round = 0; round < 50; ++round) {
    const std::string text = RandomCode(rng, 50) + HostileText(rng, 300) + RandomWord(rng, 400, 3);
    Ids ids = {1, 2};
    encoder.Encode(text, ids);
    Ids expected = CodeTokenizer().Encode(text);
    expected.insert(expected.begin(), {1, 2});
    ASSERT_EQ(ids, expected);
  }
}

// A gigabyte in one line must not take quadratic time; a megabyte tells.
TEST(TokenizerTest, AMegabyteWithoutABreakIsEncoded) {
  const Tokenizer tokenizer = MakeTokenizer(std::string(1000, 'a') + " " + std::string(100, '='), 15);
  for (const char c : {'a', '=', '7'}) {
    const std::string text(1'000'000, c);
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text)), text);
  }
}

TEST(TokenizerTest, RefusesMergesThatAreNone) {
  EXPECT_FALSE(Tokenizer::FromMerges({{0, 256}}).ok()) << "256 is the merge itself";
  EXPECT_FALSE(Tokenizer::FromMerges({{0, 1}, {0, 1}}).ok()) << "twice";
  EXPECT_FALSE(Tokenizer::FromMerges({{0, 0}, {0, 256}, {256, 0}}).ok()) << "one string, two ids";
  std::vector<Merge> doubling = {{0, 0}};
  for (uint16_t id = 256; id < 300; ++id) doubling.emplace_back(id, id);
  EXPECT_FALSE(Tokenizer::FromMerges(doubling).ok()) << "a token of 2^45 bytes";
  EXPECT_FALSE(Tokenizer::FromMerges(std::vector<Merge>(kMaxVocab, {0, 1})).ok());
}

TEST(TokenizerFilesTest, BothKindsOfFilesGiveTheTokenizerBack) {
  const Tokenizer& tokenizer = CodeTokenizer();
  const std::vector<std::string> tokens = BytesOfTokens(tokenizer);
  const TempFolder hugging_face, gpt2;
  hugging_face.Write(kTokenizerJsonFile, FormatTokenizerJson(tokenizer.merges(), tokens));
  gpt2.Write(kEncoderJsonFile, FormatEncoderJson(tokenizer));
  gpt2.Write(kVocabBpeFile, FormatVocabBpe(tokenizer));
  for (const TempFolder* folder : {&hugging_face, &gpt2}) {
    const absl::StatusOr<Tokenizer> loaded = Tokenizer::Load(folder->path());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->merges(), tokenizer.merges());
    EXPECT_EQ(loaded->digest(), tokenizer.digest());
  }
}

class BadTokenizerJsonTest : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

// Replaces one piece of a good file and expects a refusal that names the file.
TEST_P(BadTokenizerJsonTest, IsRefused) {
  const Tokenizer tokenizer = Tokenizer::FromMerges({{Id('a'), Id('b')}}).value();
  const std::vector<std::string> tokens = BytesOfTokens(tokenizer);
  std::string text = FormatTokenizerJson(tokenizer.merges(), tokens);
  ASSERT_TRUE(ParseTokenizerJson(text, "good").ok());
  const auto [from, to] = GetParam();
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, std::string(from).size(), to);
  const absl::StatusOr<Tokenizer> loaded = ParseTokenizerJson(text, "bad.json");
  ASSERT_TRUE(absl::IsDataLoss(loaded.status())) << loaded.status();
  EXPECT_EQ(std::string(loaded.status().message()).find("bad.json"), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTokenizerJsonTest,
    ::testing::Values(std::pair("{", "["), std::pair("\"BPE\"", "\"Unigram\""), std::pair("\"a b\"", "\"ab\""),
                      std::pair("\"a b\"", "\"a zz\""), std::pair("\"a b\"", "\"a  b\""), std::pair("\"a b\"", "7"),
                      std::pair("\"a b\"", "[\"a\"]"), std::pair("\"a b\"", "\"a b\", \"a b\""),
                      std::pair("\"ab\": 256", "\"ab\": 255"), std::pair("\"ab\": 256", "\"ab\": \"256\""),
                      std::pair("\"ab\": 256", "\"abc\": 256"), std::pair("{1,3}", "{1,2}"),
                      std::pair("Isolated", "Removed"), std::pair("\"dropout\": null", "\"dropout\": 0.1"),
                      std::pair("\"ignore_merges\": false", "\"ignore_merges\": true"),
                      std::pair("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}"),
                      std::pair("\"id\": 257", "\"id\": 0"), std::pair("\"use_regex\": false", "\"use_regex\": true")));

TEST(TokenizerFilesTest, ReadsMergesAsListsOfTwo) {
  const Tokenizer tokenizer = Tokenizer::FromMerges({{Id('a'), Id('b')}}).value();
  const std::vector<std::string> tokens = BytesOfTokens(tokenizer);
  std::string text = FormatTokenizerJson(tokenizer.merges(), tokens);
  text.replace(text.find("\"a b\""), 5, "[\"a\", \"b\"]");
  const absl::StatusOr<Tokenizer> loaded = ParseTokenizerJson(text, "lists");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->digest(), tokenizer.digest()) << "the digest is of the tokenizer, not of how a file writes it";
}

TEST(TokenizerFilesTest, MissingAndDamagedFilesAreNamed) {
  const TempFolder folder;
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Load(folder.path()).status()));
  folder.Write(kVocabBpeFile, "#version: 0.2\na b\n");
  EXPECT_FALSE(Tokenizer::Load(folder.path()).ok()) << "encoder.json is missing";
  folder.Write(kEncoderJsonFile, "{}");
  EXPECT_TRUE(absl::IsDataLoss(Tokenizer::Load(folder.path()).status()));
  folder.Write(kTokenizerJsonFile, std::string(100000, '['));
  EXPECT_TRUE(absl::IsDataLoss(Tokenizer::Load(folder.path()).status())) << "nesting without end";
}

TEST(TokenizerFilesTest, AnyCutOrFlippedByteIsRefusedOrTheSameTokenizer) {
  const Tokenizer tokenizer = MakeTokenizer("abab abcabc aaaa", 6);
  const std::vector<std::string> tokens = BytesOfTokens(tokenizer);
  const std::string text = FormatTokenizerJson(tokenizer.merges(), tokens);
  std::mt19937_64 rng(8);
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = text;
    if (round % 3 == 0) {
      damaged.resize(rng() % text.size());
    } else {
      damaged[rng() % text.size()] = static_cast<char>(rng() % 256);
    }
    const absl::StatusOr<Tokenizer> loaded = ParseTokenizerJson(damaged, "damaged");
    if (loaded.ok()) {
      ASSERT_EQ(loaded->vocab_size(), tokenizer.vocab_size());
    }
  }
}

}  // namespace
}  // namespace filigree::data
