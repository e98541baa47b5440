// Who owns which matrix, and that an owner's sum has the bits of one rank alone.

#include "worker/exchange/owners.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/exchange/batch_sum.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

constexpr int64_t kLeaves = 7;

TEST(Owners, HaveSparsifiedMatricesAloneAndShareThemEvenly) {
  const model::Registry registry(testing_support::RunSpec());
  for (const int ranks : {1, 2, 3, 40}) {
    const std::vector<int> owners = OwnersOf(registry, ranks);
    ASSERT_EQ(std::ssize(owners), registry.size());
    std::vector<int64_t> load(ranks);
    int64_t largest = 0;
    for (const model::TensorInfo& info : registry.tensors()) {
      const bool follows_density =
          info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
      EXPECT_EQ(owners[info.index] >= 0, follows_density) << info.name;
      if (owners[info.index] < 0) continue;
      ASSERT_LT(owners[info.index], ranks);
      load[owners[info.index]] += info.numel();
      largest = std::max(largest, info.numel());
    }
    const auto [least, most] = std::minmax_element(load.begin(), load.end());
    EXPECT_LE(*most - *least, largest) << ranks << " ranks";
    if (ranks == 40) {
      EXPECT_EQ(*least, 0) << "more ranks than matrices";
    }
  }
}

// Values of very different sizes: another order of additions has other bits.
void AddLeaves(const model::Layout& layout, parallel::LeafRange range, GradientTree& tree) {
  tree.Begin(range.begin);
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    Rng rng(500 + leaf);
    for (int64_t i = 0; i < layout.floats(); ++i) {
      const float value = rng.Normal() * static_cast<float>(1 << rng.Below(16));
      float& out = to.gradient->data()[i];
      out = to.write == model::Network::Write::kAdd ? out + value : value;
    }
    tree.Merge(0);
  }
}

model::ModelSpec SpecOf(bool bigram) {
  model::ModelSpec spec = testing_support::RunSpec();
  spec.bigram = bigram;
  return spec;
}

class TreeSumTest : public testing::TestWithParam<std::pair<int, bool>> {};

TEST_P(TreeSumTest, HasTheBitsOfARankAloneWhereItIsDue) {
  const auto [ranks, bigram] = GetParam();
  const model::Registry registry(SpecOf(bigram));
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  kernels::ThreadPool alone_pool(1);
  GradientTree alone(layout, alone_pool);
  AddLeaves(*layout, {0, kLeaves}, alone);
  alone.Finish();
  SumOptions options;
  options.owners = OwnersOf(registry, ranks);
  for (int& owner : options.owners) owner = owner == 0 && ranks > 2 ? 1 : owner;  // rank 0 owns nothing
  testing_support::RunRanks(ranks, [&, ranks = ranks](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1 + data.rank() % 2);
    GradientTree tree(layout, pool);
    BatchSum sum(data, kLeaves, options, registry, layout, pool);
    for (int again = 0; again < 2; ++again) {
      AddLeaves(*layout, parallel::LeavesOf(kLeaves, data.rank(), ranks), tree);
      const absl::Status status = sum.Sum(tree.nodes());
      ASSERT_TRUE(status.ok()) << status;
      for (const model::TensorInfo& info : registry.tensors()) {
        if (const int owner = options.owners[info.index]; owner >= 0 && owner != data.rank()) continue;
        EXPECT_EQ(std::memcmp(tree.nodes().front().gradient->tensor(info), alone.gradient().tensor(info),
                              static_cast<size_t>(info.numel()) * sizeof(float)),
                  0)
            << info.name << " on rank " << data.rank();
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, TreeSumTest,
                         testing::Values(std::pair{1, true}, std::pair{2, true}, std::pair{3, false},
                                         std::pair{4, true}, std::pair{7, true}),
                         [](const auto& param) {
                           return std::to_string(param.param.first) + (param.param.second ? "_bigram" : "");
                         });

// What an owner held back before it was one (a grid that changed) is not lost.
TEST(RoundedSum, OwnersTakeInWhatTheyHeldBack) {
  constexpr int kRanks = 3, kOwner = 1, kValues = 200;
  testing_support::RunRanks(kRanks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1);
    RoundedSum sum(data, pool);
    // Whole numbers that bf16 holds, so that nothing is lost where they are sent.
    std::vector<float> owned(kValues, static_cast<float>(data.rank() + 1)), all(kValues, 1), held(2 * kValues, 2);
    const std::vector<RoundedSum::Values> arrays = {{owned, {held.data(), kValues}, kOwner},
                                                    {all, {held.data() + kValues, kValues}}};
    const int64_t before = data.traffic().sent_bytes;
    ASSERT_TRUE(sum.Sum(arrays).ok());
    if (data.rank() == kOwner) {
      EXPECT_EQ(owned, std::vector<float>(kValues, 6 + 2 * kRanks));
      EXPECT_LE(data.traffic().sent_bytes - before, 2 * 2 * kValues) << "an owned sum goes no further";
    }
    EXPECT_EQ(all, std::vector<float>(kValues, kRanks + 2 * kRanks));
    EXPECT_EQ(held, std::vector<float>(2 * kValues, 0));
  });
}

}  // namespace
}  // namespace filigree::exchange
