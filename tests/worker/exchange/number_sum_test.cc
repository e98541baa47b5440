// Numbers that every shard has: on every rank the sum that a rank alone forms, few or many of them.

#include "worker/exchange/number_sum.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using Numbers = NumberSum::Numbers;

// Of very different sizes, so that the order of additions shows in the bits.
std::vector<double> LeafNumbers(int64_t leaf, size_t width) {
  testing_support::Rng rng(/*seed=*/40 + leaf);
  std::vector<double> values(width);
  for (double& value : values) value = rng.Normal() * static_cast<double>(1 << rng.Below(20));
  return values;
}

// The sums of the largest complete subtrees of these leaves, or, `all`, of all of them.
std::vector<Numbers> NodesOf(parallel::LeafRange range, size_t width, bool all = false) {
  std::vector<Numbers> stack;
  const auto add = [](Numbers& below, const Numbers& top) {
    for (size_t i = 0; i < below.values.size(); ++i) below.values[i] += top.values[i];
  };
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    stack.push_back({{leaf, 1}, LeafNumbers(leaf, width)});
    Collapse(stack, /*all=*/false, add);
  }
  Collapse(stack, all, add);
  return stack;
}

class NumberSumTest : public testing::TestWithParam<std::pair<int64_t, int>> {};

TEST_P(NumberSumTest, GivesEveryRankTheBitsOfARankAlone) {
  const auto [leaves, ranks] = GetParam();
  testing_support::RunRanks(ranks, [&, leaves = leaves, ranks = ranks](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    NumberSum sum(data, leaves);
    for (const size_t width : {size_t{1}, size_t{3}, size_t{NumberSum::kFewNumbers + 77}}) {
      const auto found = sum.SumNumbers(NodesOf(parallel::LeavesOf(leaves, data.rank(), ranks), width));
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(*found, NodesOf({0, leaves}, width, /*all=*/true).front().values)
          << width << " numbers, rank " << data.rank() << " of " << ranks;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Grids, NumberSumTest,
                         testing::Values(std::pair{1, 1}, std::pair{2, 2}, std::pair{3, 2}, std::pair{4, 3},
                                         std::pair{5, 3}, std::pair{8, 8}, std::pair{11, 5}, std::pair{16, 6}));

}  // namespace
}  // namespace filigree::exchange
