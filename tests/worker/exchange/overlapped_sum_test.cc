// The sum that goes on beside backward: the bits of one that comes afterwards, whoever is early or late; what is ready
// does not wait; the loss of a rank in its middle ends it on all others.

#include "worker/exchange/overlapped_sum.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/patience.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using std::chrono::microseconds;
using testing_support::Rng;

constexpr int64_t kLeaves = 5;
constexpr int64_t kSmallBuckets = 1;  // every stage is one

// Values of very different sizes: another order of additions has other bits.
void AddLeaves(int step, parallel::LeafRange range, GradientTree& tree) {
  tree.Begin(range.begin);
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    Rng rng(/*seed=*/700 + 10 * step + leaf);
    for (int64_t i = 0; i < tree.layout()->floats(); ++i) {
      const float value = rng.Normal() * static_cast<float>(1 << rng.Below(16));
      float& out = to.gradient->data()[i];
      out = to.write == model::Network::Write::kAdd ? out + value : value;
    }
    tree.Merge(0);
  }
}

// One rank of a group that sums the gradients of a small model.
struct Rank {
  Rank(std::unique_ptr<comm::Transport> transport, const model::Registry& registry, SumOptions options)
      : data(std::move(transport), {}),
        pool(1),
        layout(std::make_shared<model::Layout>(registry.numels())),
        tree(layout, pool),
        sum(data, kLeaves, Small(options), registry, layout, pool),
        stages(model::GradientStages(registry)),
        overlapped(sum) {}

  static SumOptions Small(SumOptions options) {
    options.bucket_values = kSmallBuckets;
    return options;
  }
  void AddOwnLeaves(int step) { AddLeaves(step, parallel::LeavesOf(kLeaves, data.rank(), data.size()), tree); }
  std::vector<float> Values() const { return ValuesOf(tree.nodes().front()); }
  std::vector<float> ValuesOf(const GradientTree::Node& node) const {
    return {node.gradient->data(), node.gradient->data() + layout->floats()};
  }
  // As backward does it: stage by stage, and what is still to come is not there yet.
  void SumStageByStage(Rng& rng) {
    std::vector<std::vector<float>> values;
    values.reserve(tree.nodes().size());
    for (const GradientTree::Node& node : tree.nodes()) {
      values.push_back(ValuesOf(node));
      std::fill_n(node.gradient->data(), layout->floats(), NAN);
    }
    overlapped.Begin(tree.nodes());
    for (int stage = 0; stage < std::ssize(stages); ++stage) {
      std::this_thread::sleep_for(microseconds(rng.Below(3) == 0 ? rng.Below(3000) : 0));
      for (size_t n = 0; n < values.size(); ++n) {
        for (const int t : stages[stage]) {
          std::copy_n(values[n].data() + layout->offset(t), layout->stored(t),
                      tree.nodes()[n].gradient->data() + layout->offset(t));
        }
      }
      overlapped.StageDone(stage);
    }
  }

  comm::Communicator data;
  kernels::ThreadPool pool;
  const std::shared_ptr<model::Layout> layout;
  GradientTree tree;
  BatchSum sum;
  const std::vector<std::vector<int>> stages;
  OverlappedSum overlapped;
};

constexpr int kRanks = 3;
constexpr SumOptions::Method kTree = SumOptions::Method::kTree;

class OverlappedSumTest : public testing::TestWithParam<WireValue> {};

// Ranks of one leaf are done before those of two have begun with the last one; and each is late at other stages.
TEST_P(OverlappedSumTest, HasTheBitsOfASumAfterwardsWhoeverIsLate) {
  const model::Registry registry(testing_support::RunSpec());
  const SumOptions options{kTree, GetParam(), 0.1};
  testing_support::RunRanks(kRanks, [&](std::unique_ptr<comm::Transport> transport) {
    Rank rank(std::move(transport), registry, options);
    BatchSum afterwards(rank.data, kLeaves, options, registry, rank.layout, rank.pool);
    Rng rng(/*seed=*/11 + rank.data.rank());
    for (int step = 0; step < 4; ++step) {
      rank.AddOwnLeaves(step);
      ASSERT_TRUE(afterwards.Sum(rank.tree.nodes()).ok());
      const std::vector<float> expected = rank.Values();
      rank.AddOwnLeaves(step);
      rank.SumStageByStage(rng);
      ASSERT_TRUE(rank.overlapped.Finish().ok());
      EXPECT_EQ(rank.Values(), expected) << "rank " << rank.data.rank() << ", step " << step;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Wires, OverlappedSumTest, testing::Values(WireValue::kFloat32, WireValue::kBf16));

// The last stages never come before the first buckets have arrived.
TEST(OverlappedSum, SendsWhatIsReadyWhileTheRestIsNot) {
  const model::Registry registry(testing_support::RunSpec());
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    Rank rank(std::move(transport), registry, {kTree, WireValue::kFloat32, 0.1});
    rank.AddOwnLeaves(0);
    rank.overlapped.Begin(rank.tree.nodes());
    for (int stage = 0; stage < std::ssize(rank.stages); ++stage) {
      const int64_t before = rank.data.traffic().received_bytes;
      rank.overlapped.StageDone(stage);
      const auto end = std::chrono::steady_clock::now() + Patience(std::chrono::seconds(60));
      while (rank.data.traffic().received_bytes == before && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(microseconds(100));
      }
      ASSERT_GT(rank.data.traffic().received_bytes, before) << "nothing of stage " << stage << " has come";
    }
    EXPECT_TRUE(rank.overlapped.Finish().ok());
  });
}

TEST(OverlappedSum, EndsOnAllRanksWhereOneIsLostInItsMiddle) {
  const model::Registry registry(testing_support::RunSpec());
  testing_support::RunRanks(kRanks, [&](std::unique_ptr<comm::Transport> transport) {
    Rank rank(std::move(transport), registry, {kTree, WireValue::kBf16, 0.1});
    rank.AddOwnLeaves(0);
    rank.overlapped.Begin(rank.tree.nodes());
    rank.overlapped.StageDone(0);
    rank.overlapped.StageDone(1);
    if (rank.data.rank() == 1) {  // its backward fails
      rank.data.Abort(absl::InternalError("no more of this"));
      rank.overlapped.GiveUp();
      return;
    }
    for (int stage = 2; stage < std::ssize(rank.stages); ++stage) rank.overlapped.StageDone(stage);
    const absl::Status status = rank.overlapped.Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_NE(status.message().find("rank 1"), std::string::npos) << status;
    rank.overlapped.Begin(rank.tree.nodes());  // and does not hang afterwards
    for (int stage = 0; stage < std::ssize(rank.stages); ++stage) rank.overlapped.StageDone(stage);
    EXPECT_FALSE(rank.overlapped.Finish().ok());
  });
}

}  // namespace
}  // namespace filigree::exchange
