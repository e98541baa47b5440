#include "worker/run/told_updates.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace filigree::train {
namespace {

std::vector<int64_t> ToldUpTo(const ToldUpdates& updates, int64_t last) {
  std::vector<int64_t> told;
  for (int64_t update = 0; update <= last; ++update)
    if (updates.IsTold(update)) told.push_back(update);
  return told;
}

TEST(ToldUpdates, PowersOfTwoAndThenEveryHalfMinuteOrSo) {
  ToldUpdates updates(30);
  updates.StepTook(4);
  EXPECT_EQ(ToldUpTo(updates, 25), (std::vector<int64_t>{1, 2, 4, 8, 16, 24}));  // 8 x 4 s
}

TEST(ToldUpdates, SlowStepsAreAllTold) {
  ToldUpdates updates(30);
  updates.StepTook(31);
  EXPECT_EQ(ToldUpTo(updates, 4), (std::vector<int64_t>{1, 2, 3, 4}));
}

TEST(ToldUpdates, WhoMeasuresAnotherTimeTellsOfTheSameUpdatesOrEveryOther) {
  ToldUpdates fast(30), slow(30);
  fast.StepTook(0.9);
  slow.StepTook(1.1);
  int both = 0;
  for (const int64_t update : ToldUpTo(fast, 1000)) both += slow.IsTold(update) ? 1 : 0;
  EXPECT_EQ(both, static_cast<int>(ToldUpTo(fast, 1000).size()));
}

TEST(ToldUpdates, TheMeanFollowsTheSteps) {
  ToldUpdates updates(30);
  updates.StepTook(30);
  for (int i = 0; i < 200; ++i) updates.StepTook(1);
  EXPECT_FALSE(updates.IsTold(33));
  EXPECT_TRUE(updates.IsTold(64));
}

TEST(WordsOf, EachNameCoversItsComponents) {
  const exchange::TensorDigests tensor{"w", {}}, another{"v", {}};
  const auto one = WordsOf(std::vector{tensor});
  ASSERT_EQ(one.size(), 3u);
  const int covered[] = {2, 1, 1, 0, 0};  // weights, first and second moments, mask, candidates
  for (int c = 0; c < exchange::kComponents; ++c) {
    exchange::TensorDigests other = tensor;
    other.of[c].second = 1;
    const auto words = WordsOf(std::vector{other});
    for (int w = 0; w < 3; ++w) EXPECT_EQ(words[w] != one[w], w == covered[c]) << words[w].first << ", component " << c;
  }
  EXPECT_NE(WordsOf(std::vector{another})[2], one[2]);
  EXPECT_TRUE(std::is_sorted(one.begin(), one.end()));  // as the coordinator wants them
}

}  // namespace
}  // namespace filigree::train
