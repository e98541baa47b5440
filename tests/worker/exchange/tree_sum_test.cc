// Sums over ranks: the bits of a rank alone, for any number of shards and ranks, and the bytes that the header
// promises.

#include "worker/exchange/tree_sum.h"

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/exchange/slices.h"
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

void AddLeaves(parallel::LeafRange range, GradientTree& tree) {
  tree.Begin(range.begin);
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    float* out = to.gradient->data();
    const std::vector<float> values = LeafValues(leaf, to.gradient->layout().floats());
    for (size_t i = 0; i < values.size(); ++i) {
      out[i] = to.write == model::Network::Write::kAdd ? out[i] + values[i] : values[i];
    }
    tree.Merge(0);
  }
}

std::vector<TreeSum::Run> RunsOf(const model::Layout& layout, const std::vector<int>& tensors) {
  std::vector<TreeSum::Run> runs;
  runs.reserve(tensors.size());
  for (const int t : tensors) runs.push_back({layout.offset(t), layout.stored(t)});
  return runs;
}

int64_t ValuesOf(const std::vector<TreeSum::Run>& runs) {
  int64_t values = 0;
  for (const TreeSum::Run& run : runs) values += run.size;
  return values;
}

class TreeSumTest : public testing::TestWithParam<Case> {};

// Tensors in two calls, the first of which is cut as badly as can be: the last rank adds all of it.
TEST_P(TreeSumTest, GivesEveryRankTheBitsOfARankAlone) {
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
    TreeSum sum(data, leaves, pool);
    const std::vector<TreeSum::Run> first = RunsOf(*layout, {4, 1}), rest = RunsOf(*layout, {0, 2, 3});
    std::vector<int64_t> uneven(ranks);
    uneven.back() = ValuesOf(first);
    for (int step = 0; step < 2; ++step) {  // buffers are used again
      AddLeaves(parallel::LeavesOf(leaves, data.rank(), ranks), tree);
      ASSERT_TRUE(sum.Sum(tree.nodes(), first, uneven).ok());
      ASSERT_TRUE(sum.Sum(tree.nodes(), rest, SliceSizes(ValuesOf(rest), ranks)).ok());
      for (int t = 0; t < layout->size(); ++t) {
        EXPECT_EQ(std::memcmp(tree.gradient().data() + layout->offset(t), alone.gradient().data() + layout->offset(t),
                              static_cast<size_t>(layout->stored(t)) * sizeof(float)),
                  0)
            << leaves << " leaves, tensor " << t << ", rank " << data.rank() << " of " << ranks;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Grids, TreeSumTest,
                         testing::Values(Case{1, 1}, Case{2, 2}, Case{3, 2}, Case{4, 1}, Case{4, 2}, Case{4, 3},
                                         Case{4, 4}, Case{5, 3}, Case{7, 4}, Case{8, 3}, Case{8, 8}, Case{11, 5},
                                         Case{16, 6}));

TEST(TreeSum, LeavesWhatIsInNoRun) {
  const auto layout = OddLayout();
  constexpr int64_t kBegin = 17, kEnd = 1040;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1);
    GradientTree tree(layout, pool);
    TreeSum exchange(data, 3, pool);
    AddLeaves({data.rank(), data.rank() + 1}, tree);
    const TreeSum::Run run{kBegin, kEnd - kBegin};
    ASSERT_TRUE(exchange.Sum(tree.nodes(), {&run, 1}, SliceSizes(run.size, 3)).ok());
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

TEST(TreeSum, SendsAsMuchAsARing) {
  const auto layout = OddLayout();
  for (const int ranks : {2, 4}) {
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator data(std::move(transport), {});
      kernels::ThreadPool pool(1);
      GradientTree tree(layout, pool);
      TreeSum exchange(data, 4, pool);
      AddLeaves(parallel::LeavesOf(4, data.rank(), ranks), tree);
      const comm::Traffic before = data.traffic();
      const TreeSum::Run all{0, layout->floats()};
      ASSERT_TRUE(exchange.Sum(tree.nodes(), {&all, 1}, SliceSizes(all.size, ranks)).ok());
      const auto sent = static_cast<double>((data.traffic() - before).sent_bytes);
      const double ring = 2.0 * (ranks - 1) / ranks * static_cast<double>(layout->floats()) * sizeof(float);
      // Slices end on multiples of 16 values.
      EXPECT_NEAR(sent, ring, 2 * ranks * 16 * sizeof(float));
    });
  }
}

TEST(Shares, AreEvenAndInTheEndWhatWasGiven) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    std::vector<int64_t> totals(ranks), given(ranks);
    const std::vector<int64_t> arrays = {1, 70'000, 16, 0, 900, 5'000, 40};
    for (const int64_t values : arrays) totals[0] += values;  // of one array in one piece, a line more or less
    totals = SliceSizes(totals[0], ranks);
    Shares shares(totals);
    for (const int64_t values : arrays) {
      const std::vector<int64_t> even = SliceSizes(values, ranks), taken = shares.Take(values);
      int64_t sum = 0;
      for (int r = 0; r < ranks; ++r) {
        sum += taken[r];
        given[r] += taken[r];
        EXPECT_GE(taken[r], 0);
        EXPECT_NEAR(static_cast<double>(taken[r]), static_cast<double>(even[r]), 16.0 * std::ssize(arrays));
      }
      EXPECT_EQ(sum, values);
    }
    EXPECT_EQ(given, totals) << ranks << " ranks";
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
