// What a run is said to need is what it then holds, and a run that does not fit is refused with what would.

#include "worker/train/memory.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_model.h"
#include "worker/model/arena.h"
#include "worker/model/network.h"
#include "worker/train/gradient_tree.h"

namespace filigree::train {
namespace {

TEST(Memory, IsWhatTheNetworkAndTheTreeHold) {
  const model::ModelSpec spec = testing_support::SmallSpec();
  const model::Registry registry(spec);
  kernels::ThreadPool pool(1);
  for (const int shards : {1, 2, 3, 4, 5, 7, 8}) {
    const RunMemory said = MemoryOfRun(spec, {2 * shards, shards});
    model::Network network(spec, registry, pool);
    model::Arena weights(registry);
    network.SetWeights(weights);
    const size_t before = network.bytes();
    GradientTree tree(std::make_shared<model::Layout>(registry.numels()), pool);
    const std::vector<int32_t> tokens(2 * spec.n_ctx, 1);
    tree.Begin();
    for (int shard = 0; shard < shards; ++shard) {
      const GradientTree::Leaf leaf = tree.NextLeaf();
      tree.Merge(network.LossAndGradient({tokens.data(), 2, spec.n_ctx}, 1, leaf.write, *leaf.gradient));
    }
    EXPECT_EQ(static_cast<size_t>(said.gradients), tree.bytes()) << shards << " shards";
    const auto held = static_cast<double>(network.bytes() - before);
    EXPECT_LE(static_cast<double>(said.activations), held);
    EXPECT_GE(static_cast<double>(said.activations), 0.9 * held);
  }
}

TEST(Memory, ARunThatDoesNotFitIsRefusedWithWhatWould) {
  model::ModelSpec spec = testing_support::SmallSpec();
  const config::TrainSettings train = {8, 2};
  const RunMemory need = MemoryOfRun(spec, train);
  EXPECT_TRUE(CheckMemory(spec, train, need.total()).ok());

  // Smaller shards are enough: four sequences' activations go.
  const absl::Status shards = CheckMemory(spec, train, need.total() - 1);
  EXPECT_EQ(shards.code(), absl::StatusCode::kInvalidArgument);
  const std::string text(shards.message());
  EXPECT_NE(text.find("train.shards = "), std::string::npos) << text;

  // The state alone is too large: a narrower model is named, and it fits.
  spec.n_head = 64;
  spec.d_head = 16;
  spec.d_model = 1024;
  spec.d_mlp = 4096;
  const int64_t little = MemoryOfRun(spec, train).state / 2;
  const std::string wide(CheckMemory(spec, train, little).message());
  const std::string key = "model.d_model = ";
  ASSERT_NE(wide.find(key), std::string::npos) << wide;
  spec.d_model = std::stoi(wide.substr(wide.find(key) + key.size()));
  EXPECT_EQ(spec.d_model % 16, 0);
  spec.n_head = spec.d_model / 16;
  spec.d_mlp = 4 * spec.d_model;
  EXPECT_TRUE(CheckMemory(spec, train, little).ok()) << wide;
}

TEST(Memory, TheMachineHasSome) { EXPECT_GT(MachineMemory(), int64_t{1} << 28); }

}  // namespace
}  // namespace filigree::train
