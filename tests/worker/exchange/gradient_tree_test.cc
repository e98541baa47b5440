// The sum of shards: along the fixed tree, whatever the number of shards and threads.

#include "worker/exchange/gradient_tree.h"

#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"
#include "worker/model/arena.h"
#include "worker/model/spec.h"

namespace filigree::exchange {
namespace {

model::ModelSpec SmallSpec() {
  model::ModelSpec spec;
  spec.d_model = 8;
  spec.n_layer = 1;
  spec.n_head = 2;
  spec.d_head = 4;
  spec.d_mlp = 12;
  spec.n_ctx = 8;
  spec.vocab = 19;
  spec.bigram = true;
  return spec;
}

// A leaf's gradient: values of very different sizes, so that the order of additions shows in the bits.
std::vector<float> LeafValues(int64_t leaf, int64_t size) {
  testing_support::Rng rng(/*seed=*/100 + leaf);
  std::vector<float> values(size);
  for (float& value : values) value = rng.Normal() * static_cast<float>(1 << rng.Below(16));
  return values;
}

struct Sum {
  std::vector<float> values;
  double loss = 0;
};

// The definition: the largest power of two of leaves that leaves something over goes left.
Sum Reference(int64_t first, int64_t leaves, int64_t size) {
  if (leaves == 1) return {LeafValues(first, size), 1.0 / static_cast<double>(3 + first)};
  int64_t left = 1;
  while (2 * left < leaves) left *= 2;
  Sum a = Reference(first, left, size);
  const Sum b = Reference(first + left, leaves - left, size);
  for (int64_t i = 0; i < size; ++i) a.values[i] += b.values[i];
  a.loss += b.loss;
  return a;
}

class GradientTreeTest : public testing::TestWithParam<int> {};

TEST_P(GradientTreeTest, AddsAlongTheTreeOfTheDefinition) {
  const int64_t leaves = GetParam();
  const model::ModelSpec spec = SmallSpec();
  const model::Registry registry(spec);
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  const int64_t size = layout->floats();
  const Sum expected = Reference(0, leaves, size);
  for (const int threads : {1, 3}) {
    kernels::ThreadPool pool(threads);
    GradientTree tree(layout, pool);
    for (int step = 0; step < 2; ++step) {  // arenas are used again
      tree.Begin();
      for (int64_t leaf = 0; leaf < leaves; ++leaf) {
        const GradientTree::Leaf to = tree.NextLeaf();
        const std::vector<float> values = LeafValues(leaf, size);
        float* out = to.gradient->data();
        for (int64_t i = 0; i < size; ++i) {
          out[i] = to.write == model::Network::Write::kAdd ? out[i] + values[i] : values[i];
        }
        tree.Merge(1.0 / static_cast<double>(3 + leaf));
      }
      tree.Finish();
      const model::Arena& sum = tree.gradient();
      EXPECT_EQ(std::memcmp(sum.data(), expected.values.data(), size * sizeof(float)), 0) << leaves << " leaves";
      EXPECT_EQ(tree.loss(), expected.loss);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Leaves, GradientTreeTest, testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 11, 16));

// A leaf whose tensors are written one after another, and added as soon as they are there.
TEST_P(GradientTreeTest, AddsALeafTensorByTensorToTheSameBits) {
  const int64_t leaves = GetParam();
  const model::Registry registry(SmallSpec());
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  const Sum expected = Reference(0, leaves, layout->floats());
  kernels::ThreadPool pool(2);
  GradientTree tree(layout, pool);
  tree.Begin();
  for (int64_t leaf = 0; leaf < leaves; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    const std::vector<float> values = LeafValues(leaf, layout->floats());
    const std::vector<GradientTree::Node> after = tree.NodesAfterLeaf();
    for (int t = registry.size() - 1; t >= 0; --t) {
      const int64_t begin = layout->offset(t);
      for (int64_t i = begin; i < begin + layout->stored(t); ++i) {
        float& out = to.gradient->data()[i];
        out = to.write == model::Network::Write::kAdd ? out + values[i] : values[i];
      }
      if (t % 3 == 0) continue;  // is left to Merge
      tree.MergeTensors({t});
      const Sum node = Reference(after.back().subtree.first, after.back().subtree.leaves, layout->floats());
      EXPECT_EQ(std::memcmp(after.back().gradient->data() + begin, node.values.data() + begin,
                            static_cast<size_t>(layout->stored(t)) * sizeof(float)),
                0)
          << "leaf " << leaf << ", tensor " << t;
    }
    tree.Merge(1.0 / static_cast<double>(3 + leaf));
    ASSERT_EQ(after.size(), tree.nodes().size());
    for (size_t i = 0; i < after.size(); ++i) {
      EXPECT_EQ(after[i].gradient, tree.nodes()[i].gradient);
      EXPECT_EQ(after[i].subtree.leaves, tree.nodes()[i].subtree.leaves);
    }
  }
  tree.Finish();
  EXPECT_EQ(tree.loss(), expected.loss);
  for (const model::TensorInfo& info : registry.tensors()) {
    EXPECT_EQ(std::memcmp(tree.gradient().tensor(info), expected.values.data() + layout->offset(info.index),
                          static_cast<size_t>(info.numel()) * sizeof(float)),
              0)
        << info.name;
  }
}

TEST(GradientTree, HoldsOneArenaALevel) {
  const model::ModelSpec spec = SmallSpec();
  const model::Registry registry(spec);
  kernels::ThreadPool pool(1);
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  const size_t arena = layout->floats() * sizeof(float);
  for (const auto& [leaves, most] : std::vector<std::pair<int, size_t>>{{1, 1}, {2, 1}, {4, 2}, {8, 3}, {16, 4}}) {
    GradientTree tree(layout, pool);
    tree.Begin();
    for (int leaf = 0; leaf < leaves; ++leaf) {
      tree.NextLeaf();
      tree.Merge(0);
    }
    tree.Finish();
    EXPECT_EQ(tree.bytes(), most * arena) << leaves << " leaves";
  }
}

}  // namespace
}  // namespace filigree::exchange
