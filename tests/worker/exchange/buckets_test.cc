// Which gradients go together: all of them once, none before backward has it.

#include "worker/exchange/buckets.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_run.h"

namespace filigree::exchange {
namespace {

class BucketsTest : public testing::TestWithParam<int64_t> {};

TEST_P(BucketsTest, HoldEveryTensorOnceAndNoneBeforeItsStage) {
  const model::Registry registry(testing_support::RunSpec());
  const model::Layout layout(registry.numels());
  const std::vector<std::vector<int>> stages = model::GradientStages(registry);
  for (const int alone : {-1, registry.bigram()}) {
    const std::vector<Bucket> buckets = BucketsOf(stages, layout, alone, GetParam());
    std::vector<int> seen;
    int stage = 0;
    for (const Bucket& bucket : buckets) {
      EXPECT_GE(bucket.stage, stage) << "buckets go in the order of stages";
      stage = bucket.stage;
      EXPECT_EQ(bucket.alone, bucket.tensors == std::vector<int>{alone});
      int64_t values = 0;
      for (const int tensor : bucket.tensors) {
        const auto of = std::find_if(stages.begin(), stages.end(), [&](const std::vector<int>& tensors) {
          return std::find(tensors.begin(), tensors.end(), tensor) != tensors.end();
        });
        EXPECT_LE(of - stages.begin(), bucket.stage) << registry[tensor].name;
        values += layout.stored(tensor);
      }
      if (!bucket.alone && &bucket != &buckets.back()) {
        EXPECT_GE(values, GetParam());
      }
      seen.insert(seen.end(), bucket.tensors.begin(), bucket.tensors.end());
    }
    std::sort(seen.begin(), seen.end());
    ASSERT_EQ(std::ssize(seen), registry.size());
    for (int tensor = 0; tensor < registry.size(); ++tensor) EXPECT_EQ(seen[tensor], tensor);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, BucketsTest, testing::Values(1, 5'000, 20'000, int64_t{1} << 40));

TEST(Buckets, AreOneAStageWhereEachIsLargeEnoughAndOneInAllWhereNoneShallGoBefore) {
  const model::Registry registry(testing_support::RunSpec());
  const model::Layout layout(registry.numels());
  const std::vector<std::vector<int>> stages = model::GradientStages(registry);
  EXPECT_EQ(BucketsOf(stages, layout, -1, 1).size(), stages.size());
  const std::vector<Bucket> one = BucketsOf(stages, layout, -1, 0);
  ASSERT_EQ(one.size(), 1);
  EXPECT_EQ(one[0].stage, std::ssize(stages) - 1);
  const std::vector<Bucket> two = BucketsOf(stages, layout, registry.bigram(), 0);
  ASSERT_EQ(two.size(), 2);
  EXPECT_TRUE(two[0].alone);
  EXPECT_EQ(two[0].stage, 0);
}

}  // namespace
}  // namespace filigree::exchange
