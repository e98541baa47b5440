#include "worker/data/bpe_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/data/random_text.h"
#include "worker/data/byte_alphabet.h"
#include "worker/data/pre_tokenizer.h"

namespace filigree::data {
namespace {

uint16_t Id(char c) { return IdsOfBytes()[static_cast<uint8_t>(c)]; }

WordCounts Count(const std::vector<std::pair<std::string, int64_t>>& words) {
  WordCounts counts;
  for (const auto& [word, times] : words) counts.Add(word, times);
  return counts;
}

std::vector<Merge> Train(const WordCounts& words, int merges) { return TrainBpe(words, merges, {}).value(); }

TEST(BpeTrainerTest, MergesTheMostFrequentPairFirst) {
  const WordCounts words = Count({{"ab", 5}, {"abc", 3}, {"bc", 7}});
  // bc 10, ab 8; then the a of "abc" stands before the new id 256.
  EXPECT_EQ(Train(words, 3), (std::vector<Merge>{{Id('b'), Id('c')}, {Id('a'), Id('b')}, {Id('a'), 256}}));
}

TEST(BpeTrainerTest, TiesGoToTheSmallestPairOfIds) {
  EXPECT_EQ(Train(Count({{"zy", 4}, {"ba", 4}, {"ab", 4}}), 1)[0], (Merge{Id('a'), Id('b')}));
  // Ids, not bytes: a space is byte 32 but id 220, behind every letter.
  EXPECT_EQ(Train(Count({{" a", 4}, {"zz", 4}}), 1)[0], (Merge{Id('z'), Id('z')}));
}

TEST(BpeTrainerTest, OverlappingPlacesCountAndMergeFromTheLeft) {
  // "aaa" has two places of aa, so aa (2) comes before bb (1); then "aaa" is [aa, a].
  EXPECT_EQ(Train(Count({{"aaa", 1}, {"bb", 1}}), 2), (std::vector<Merge>{{Id('a'), Id('a')}, {Id('b'), Id('b')}}));
  EXPECT_EQ(Train(Count({{"aaa", 3}}), 2)[1], (Merge{256, Id('a')}));
}

TEST(BpeTrainerTest, EndsWhereNoPairIsLeft) {
  EXPECT_EQ(Train(Count({{"abc", 1}, {"x", 9}}), 100).size(), 2u);
  EXPECT_TRUE(Train(Count({}), 5).empty());
  EXPECT_TRUE(Train(Count({{"ab", 1}}), 0).empty());
}

TEST(BpeTrainerTest, EqualsTheNaiveTrainerOnRandomWords) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 60; ++round) {
    // Few letters and small counts: runs, overlaps and ties everywhere.
    const int letters = 1 + static_cast<int>(rng() % 4), longest = 2 + static_cast<int>(rng() % 30);
    WordCounts words;
    for (int i = 0; i < 40; ++i) words.Add(RandomWord(rng, longest, letters), 1 + static_cast<int64_t>(rng() % 4));
    ASSERT_EQ(Train(words, 120), ref::TrainBpe(words, 120)) << "round " << round;
  }
}

TEST(BpeTrainerTest, EqualsTheNaiveTrainerOnBytesAndCode) {
  std::mt19937_64 rng(2);
  WordCounts words;
  PreTokenizer().ForEach(RandomCode(rng, 400), [&](std::string_view word) { words.Add(word); });
  for (int i = 0; i < 50; ++i) words.Add(RandomBytes(rng, 20), 1 + static_cast<int64_t>(rng() % 3));
  EXPECT_EQ(Train(words, 300), ref::TrainBpe(words, 300));
}

TEST(BpeTrainerTest, DoesNotDependOnTheOrderOfWords) {
  std::mt19937_64 rng(3);
  std::vector<std::pair<std::string, int64_t>> list;
  list.reserve(200);
  for (int i = 0; i < 200; ++i) list.emplace_back(RandomWord(rng, 12, 3), 1 + static_cast<int64_t>(rng() % 5));
  const std::vector<Merge> expected = Train(Count(list), 200);
  std::shuffle(list.begin(), list.end(), rng);
  EXPECT_EQ(Train(Count(list), 200), expected);
}

// A million equal letters: merges double, so a trainer that visits a word for every merge or place twice would not end.
TEST(BpeTrainerTest, OneVeryLongWordTakesLinearTime) {
  const std::vector<Merge> merges = Train(Count({{std::string(1'000'000, 'a'), 1}}), 1000);
  ASSERT_GE(merges.size(), 16u);
  EXPECT_EQ(merges[0], (Merge{Id('a'), Id('a')}));
  EXPECT_EQ(merges[1], (Merge{256, 256}));
  const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::FromMerges(merges);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status() << ": no token may be above the limit";
}

TEST(WordCountsTest, CountsWhatAMapWould) {
  std::mt19937_64 rng(4);
  std::map<std::string, int64_t> expected;
  WordCounts left, right;
  for (int i = 0; i < 50000; ++i) {
    const std::string word = rng() % 2 == 0 ? RandomWord(rng, 4, 4) : RandomBytes(rng, static_cast<int>(rng() % 30));
    ++expected[word];
    (i % 3 == 0 ? left : right).Add(word);
  }
  left.Add(right);
  ASSERT_EQ(left.size(), expected.size());
  for (uint32_t i = 0; i < left.size(); ++i) EXPECT_EQ(left.count(i), expected[std::string(left.word(i))]);
}

}  // namespace
}  // namespace filigree::data
