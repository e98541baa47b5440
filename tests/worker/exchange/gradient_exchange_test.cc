// Sums over ranks: the bits of a rank alone, for any number of shards and ranks, and the bytes that the header
// promises.

#include "worker/exchange/gradient_exchange.h"

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/model/layout.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

struct Case {
  int64_t leaves;
  int ranks;
};

std::shared_ptr<const model::Layout> OddLayout() {
  return std::make_shared<model::Layout>(std::vector<int64_t>{1, 1000, 37, 70001, 16});
}

// Values of very different sizes, so that the order of additions shows in the bits.
std::vector<float> LeafValues(int64_t leaf, int64_t size) {
  testing_support::Rng rng(/*seed=*/300 + leaf);
  std::vector<float> values(size);
  for (float& value : values) value = rng.Normal() * static_cast<float>(1 << rng.Below(16));
  return values;
}

double LeafLoss(int64_t leaf) { return 1.0 / static_cast<double>(3 + leaf); }

void AddLeaves(parallel::LeafRange range, GradientTree& tree) {
  tree.Begin(range.begin);
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    float* out = to.gradient->data();
    const std::vector<float> values = LeafValues(leaf, to.gradient->layout().floats());
    for (size_t i = 0; i < values.size(); ++i) {
      out[i] = to.write == model::Network::Write::kAdd ? out[i] + values[i] : values[i];
    }
    tree.Merge(LeafLoss(leaf));
  }
}

// Many numbers go another way than few, to the same sums.
void ExpectManyNumbersToSumAlike(GradientExchange& exchange, const GradientTree& tree) {
  const size_t many = GradientExchange::kFewNumbers + 77;
  std::vector<GradientExchange::Numbers> few, all;
  for (const GradientTree::Node& node : tree.nodes()) {
    testing_support::Rng rng(/*seed=*/40 + node.subtree.first);
    std::vector<double> values(many);
    for (double& value : values) value = rng.Normal() * static_cast<double>(1 << rng.Below(20));
    few.push_back({node.subtree, {values.front(), values[many / 2], values.back()}});
    all.push_back({node.subtree, values});
  }
  const absl::StatusOr<std::vector<double>> sum = exchange.SumNumbers(all), of_few = exchange.SumNumbers(few);
  ASSERT_TRUE(sum.ok() && of_few.ok()) << sum.status() << of_few.status();
  ASSERT_EQ(sum->size(), many);
  EXPECT_EQ((std::vector<double>{sum->front(), (*sum)[many / 2], sum->back()}), *of_few);
}

class GradientExchangeTest : public testing::TestWithParam<Case> {};

TEST_P(GradientExchangeTest, GivesEveryRankTheBitsOfARankAlone) {
  const auto [leaves, ranks] = GetParam();
  const auto layout = OddLayout();
  kernels::ThreadPool alone_pool(2);
  GradientTree alone(layout, alone_pool);
  AddLeaves({0, leaves}, alone);
  alone.Finish();
  testing_support::RunRanks(ranks, [&, leaves = leaves, ranks = ranks](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(2);
    GradientTree tree(layout, pool);
    GradientExchange exchange(data, leaves, pool);
    for (int step = 0; step < 2; ++step) {  // buffers are used again
      AddLeaves(parallel::LeavesOf(leaves, data.rank(), ranks), tree);
      std::vector<GradientExchange::Numbers> losses;
      for (const GradientTree::Node& node : tree.nodes()) losses.push_back({node.subtree, {node.loss, 2 * node.loss}});
      const absl::StatusOr<std::vector<double>> loss = exchange.SumNumbers(losses);
      ASSERT_TRUE(loss.ok()) << loss.status();
      EXPECT_EQ((*loss)[0], alone.loss());
      EXPECT_EQ((*loss)[1], 2 * alone.loss());
      ExpectManyNumbersToSumAlike(exchange, tree);
      const absl::Status summed = exchange.SumGradients(tree.nodes(), 0, layout->floats());
      ASSERT_TRUE(summed.ok()) << summed;
      EXPECT_EQ(std::memcmp(tree.gradient().data(), alone.gradient().data(), layout->floats() * sizeof(float)), 0)
          << leaves << " leaves, rank " << data.rank() << " of " << ranks;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Grids, GradientExchangeTest,
                         testing::Values(Case{1, 1}, Case{2, 2}, Case{3, 2}, Case{4, 1}, Case{4, 2}, Case{4, 3},
                                         Case{4, 4}, Case{5, 3}, Case{7, 4}, Case{8, 3}, Case{8, 8}, Case{11, 5},
                                         Case{16, 6}));

TEST(GradientExchange, LeavesWhatIsOutsideTheRange) {
  const auto layout = OddLayout();
  constexpr int64_t kBegin = 16, kEnd = 1040;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1);
    GradientTree tree(layout, pool);
    GradientExchange exchange(data, 3, pool);
    AddLeaves({data.rank(), data.rank() + 1}, tree);
    ASSERT_TRUE(exchange.SumGradients(tree.nodes(), kBegin, kEnd).ok());
    const std::vector<float> mine = LeafValues(data.rank(), layout->floats());
    std::vector<float> sum = LeafValues(0, layout->floats());
    for (const int64_t leaf : {1, 2}) {
      const std::vector<float> other = LeafValues(leaf, layout->floats());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    }
    for (int64_t i = 0; i < layout->floats(); ++i) {
      ASSERT_EQ(tree.gradient().data()[i], i < kBegin || i >= kEnd ? mine[i] : sum[i]) << i;
    }
  });
}

TEST(GradientExchange, SendsAsMuchAsARing) {
  const auto layout = OddLayout();
  for (const int ranks : {2, 4}) {
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator data(std::move(transport), {});
      kernels::ThreadPool pool(1);
      GradientTree tree(layout, pool);
      GradientExchange exchange(data, 4, pool);
      AddLeaves(parallel::LeavesOf(4, data.rank(), ranks), tree);
      const comm::Traffic before = data.traffic();
      ASSERT_TRUE(exchange.SumGradients(tree.nodes(), 0, layout->floats()).ok());
      const auto sent = static_cast<double>((data.traffic() - before).sent_bytes);
      const double ring = 2.0 * (ranks - 1) / ranks * static_cast<double>(layout->floats()) * sizeof(float);
      // Slices end on multiples of 16 values.
      EXPECT_NEAR(sent, ring, 2 * ranks * 16 * sizeof(float));
    });
  }
}

TEST(Subtree, SubtreesOfAnyRunAreItsLargestCompleteOnes) {
  for (int64_t begin = 0; begin < 20; ++begin) {
    for (int64_t end = begin; end <= 20; ++end) {
      int64_t next = begin;
      const std::vector<Subtree> subtrees = SubtreesOf(begin, end);
      for (size_t i = 0; i < subtrees.size(); ++i) {
        EXPECT_EQ(subtrees[i].first, next);
        EXPECT_EQ(subtrees[i].first % subtrees[i].leaves, 0);
        next += subtrees[i].leaves;
        if (i > 0) {
          EXPECT_FALSE(subtrees[i - 1].IsLeftSiblingOf(subtrees[i]));
        }
      }
      EXPECT_EQ(next, end);
    }
  }
}

}  // namespace
}  // namespace filigree::exchange
