// Every way from shards' gradients to one sum: the same bits on all ranks, nothing lost, whatever the candidates do.

#include "worker/exchange/batch_sum.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "tests/support/ranks.h"
#include "tests/support/small_run.h"
#include "worker/exchange/owners.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using Method = SumOptions::Method;
using testing_support::Rng;

constexpr int64_t kLeaves = 5;
constexpr int kSteps = 7;

// A third of a matrix exists from step 3 on, another third from step 5 on.
void ChangeCandidates(const model::Registry& registry, int step, model::Layout& layout) {
  if (step != 3 && step != 5) return;
  const model::TensorInfo& matrix = registry[registry.layer(0).c_fc];
  std::vector<uint64_t> kept((matrix.numel() + 63) / 64);
  for (int64_t i = step; i < matrix.numel(); i += 3) kept[i / 64] |= uint64_t{1} << (i % 64);
  std::vector<model::Layout::Change> changes;
  changes.push_back({matrix.index, kernels::Pattern::FromDenseBitmap(static_cast<int>(matrix.rows),
                                                                     static_cast<int>(matrix.cols), kept.data())});
  layout.Apply(std::move(changes));
}

// Multiples of 1/64, whose sums are exact. Of an entry always the same, wherever it stands; few rows of the table.
float GradientAt(int step, int64_t leaf, const model::TensorInfo& info, int64_t index, bool table) {
  if (table && (index / info.cols + leaf) % 4 != 0) return 0;
  Rng rng(static_cast<uint64_t>(((step * kLeaves + leaf) * 64 + info.index) * 100'000 + index));
  return static_cast<float>(static_cast<int>(rng.Below(20'001)) - 10'000) / 64;
}

int64_t IndexOf(const model::Layout& layout, const model::TensorInfo& info, int64_t e, int64_t& row) {
  const kernels::PatternView* set = layout.candidates(info.index);
  if (set == nullptr) return e;
  while (set->row_offsets[row + 1] <= e) ++row;
  return row * info.cols + set->col_indices[e];
}

template <typename F>
void ForEachValue(const model::Registry& registry, const model::Layout& layout, F f) {
  for (const model::TensorInfo& info : registry.tensors()) {
    int64_t row = 0;
    for (int64_t e = 0; e < layout.stored(info.index); ++e) {
      f(info, IndexOf(layout, info, e, row), layout.offset(info.index) + e);
    }
  }
}

void AddLeaves(int step, parallel::LeafRange range, const model::Registry& registry, GradientTree& tree) {
  tree.Begin(range.begin);
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    const GradientTree::Leaf to = tree.NextLeaf();
    ForEachValue(registry, *tree.layout(), [&](const model::TensorInfo& info, int64_t index, int64_t at) {
      const float value = GradientAt(step, leaf, info, index, info.index == registry.bigram());
      float& out = to.gradient->data()[at];
      out = to.write == model::Network::Write::kAdd ? out + value : value;
    });
    tree.Merge(0);
  }
}

// By tensor and index in the whole tensor.
using Values = std::vector<std::vector<double>>;

Values Zeros(const model::Registry& registry) {
  Values values;
  for (const model::TensorInfo& info : registry.tensors()) values.emplace_back(info.numel());
  return values;
}

struct Way {
  const char* name;
  SumOptions options;
};

class BatchSumTest : public testing::TestWithParam<Way> {};

TEST_P(BatchSumTest, GivesAllRanksTheSameAndLosesNothing) {
  const SumOptions& options = GetParam().options;
  const model::Registry registry(testing_support::RunSpec());
  for (const int ranks : {1, 2, 3}) {
    std::vector<std::vector<std::vector<float>>> sums(ranks);
    std::vector<Values> balances(ranks, Zeros(registry));  // what arrived and is held back, less what was given
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator data(std::move(transport), {});
      const int rank = data.rank();
      kernels::ThreadPool pool(1 + rank % 2);
      const auto layout = std::make_shared<model::Layout>(registry.numels());
      GradientTree tree(layout, pool);
      BatchSum sum(data, kLeaves, options, registry, layout, pool);
      Values& balance = balances[rank];
      for (int step = 0; step < kSteps; ++step) {
        ChangeCandidates(registry, step, *layout);
        const parallel::LeafRange mine = parallel::LeavesOf(kLeaves, rank, ranks);
        if (step == 4) {  // a step that is taken back leaves no trace
          AddLeaves(100, mine, registry, tree);
          ASSERT_TRUE(sum.Sum(tree.nodes()).ok());
          sum.Undo();
        }
        AddLeaves(step, mine, registry, tree);
        const absl::Status status = sum.Sum(tree.nodes());
        ASSERT_TRUE(status.ok()) << status;
        const float* arrived = tree.nodes().front().gradient->data();
        sums[rank].emplace_back(arrived, arrived + layout->floats());
        ForEachValue(registry, *layout, [&](const model::TensorInfo& info, int64_t index, int64_t at) {
          double& entry = balance[info.index][index];
          for (int64_t leaf = mine.begin; leaf < mine.end; ++leaf) {
            entry -= GradientAt(step, leaf, info, index, info.index == registry.bigram());
          }
          if (rank == 0) entry += arrived[at];
          if (step + 1 == kSteps && sum.residual() != nullptr) entry += sum.residual()->values()[at];
        });
      }
      EXPECT_EQ(sum.residual() != nullptr, options.holds_back());
    });
    for (int r = 1; r < ranks; ++r) EXPECT_EQ(sums[r], sums[0]) << GetParam().name << ", rank " << r;
    const int changed = registry.layer(0).c_fc;  // whose leavers take with them what was held back
    for (const model::TensorInfo& info : registry.tensors()) {
      for (int64_t i = 0; info.index != changed && i < info.numel(); ++i) {
        double left = 0;
        for (const Values& balance : balances) left += balance[info.index][i];
        ASSERT_EQ(left, 0) << GetParam().name << ", " << ranks << " ranks, " << info.name << " " << i;
      }
    }
  }
}

constexpr WireValue kF = WireValue::kFloat32, kB = WireValue::kBf16;
INSTANTIATE_TEST_SUITE_P(Ways, BatchSumTest,
                         testing::Values(Way{"tree", {Method::kTree, kF}}, Way{"tree_bf16", {Method::kTree, kB, 0.1}},
                                         Way{"tree_bf16_with_table", {Method::kTree, kB, 1}},
                                         Way{"dense", {Method::kDense, kF}}, Way{"topk", {Method::kTopK, kF, 1, 0.05}},
                                         Way{"topk_bf16", {Method::kTopK, kB, 1, 0.2}},
                                         Way{"balanced", {Method::kBalancedTopK, kF, 1, 0.05}},
                                         Way{"balanced_bf16", {Method::kBalancedTopK, kB, 1, 0.2}}),
                         [](const auto& param) { return param.param.name; });

// What a rank holds after a few steps and what it has sent, with buckets of so many values.
struct InBuckets {
  std::vector<float> sums, held;
  int64_t sent = 0, received = 0;
  size_t buckets = 0;

  bool operator==(const InBuckets& other) const {
    return sums == other.sums && held == other.held && sent == other.sent && received == other.received;
  }
};

std::vector<InBuckets> SumInBuckets(const model::Registry& registry, SumOptions options, int ranks, int64_t values) {
  options.bucket_values = values;
  std::vector<InBuckets> found(ranks);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1);
    const auto layout = std::make_shared<model::Layout>(registry.numels());
    GradientTree tree(layout, pool);
    BatchSum sum(data, kLeaves, options, registry, layout, pool);
    InBuckets& mine = found[data.rank()];
    for (int step = 2; step < 5; ++step) {
      ChangeCandidates(registry, step, *layout);
      AddLeaves(step, parallel::LeavesOf(kLeaves, data.rank(), ranks), registry, tree);
      ASSERT_TRUE(sum.Sum(tree.nodes()).ok());
      ForEachValue(registry, *layout, [&](const model::TensorInfo& info, int64_t, int64_t at) {
        const bool due =
            options.owners.empty() || options.owners[info.index] < 0 || options.owners[info.index] == data.rank();
        if (due) mine.sums.push_back(tree.nodes().front().gradient->data()[at]);
      });
      mine.buckets = std::max(mine.buckets, sum.buckets().size());
    }
    if (sum.residual() != nullptr) mine.held.assign(sum.residual()->values().begin(), sum.residual()->values().end());
    mine.sent = data.traffic().sent_bytes;
    mine.received = data.traffic().received_bytes;
  });
  return found;
}

TEST(BatchSum, BucketsChangeNeitherBitsNorBytes) {
  const model::Registry registry(testing_support::RunSpec());
  for (const int ranks : {2, 3, 5}) {
    SumOptions owned, owned_bf16{Method::kTree, kB, 0.1};
    owned.owners = owned_bf16.owners = OwnersOf(registry, ranks);
    for (const SumOptions& options :
         {SumOptions{}, SumOptions{Method::kTree, kB, 0.1}, SumOptions{Method::kTree, kB, 1}, owned, owned_bf16}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, wire " << static_cast<int>(options.wire) << ", "
                                      << options.owners.size() << " owners, share " << options.bigram_share);
      const std::vector<InBuckets> at_once = SumInBuckets(registry, options, ranks, 0);
      for (const int64_t values : {int64_t{1}, int64_t{4'000}, int64_t{1} << 40}) {
        const std::vector<InBuckets> parts = SumInBuckets(registry, options, ranks, values);
        for (int r = 0; r < ranks; ++r) EXPECT_TRUE(parts[r] == at_once[r]) << "rank " << r << ", " << values;
        EXPECT_GE(parts[0].buckets, values == 1 ? 4 : 1);
      }
    }
  }
}

TEST(BatchSum, OverTheTreeInFp32HasTheBitsOfARankAlone) {
  const model::Registry registry(testing_support::RunSpec());
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  const auto fill = [&](parallel::LeafRange range, GradientTree& tree) {
    tree.Begin(range.begin);
    for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
      const GradientTree::Leaf to = tree.NextLeaf();
      Rng rng(900 + leaf);
      ForEachValue(registry, *layout, [&](const model::TensorInfo&, int64_t, int64_t at) {
        const float value = rng.Normal() * static_cast<float>(1 << rng.Below(16));
        float& out = to.gradient->data()[at];
        out = to.write == model::Network::Write::kAdd ? out + value : value;
      });
      tree.Merge(0);
    }
  };
  kernels::ThreadPool alone_pool(1);
  GradientTree alone(layout, alone_pool);
  fill({0, kLeaves}, alone);
  alone.Finish();
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator data(std::move(transport), {});
    kernels::ThreadPool pool(1);
    GradientTree tree(layout, pool);
    BatchSum sum(data, kLeaves, {}, registry, layout, pool);
    fill(parallel::LeavesOf(kLeaves, data.rank(), 3), tree);
    ASSERT_TRUE(sum.Sum(tree.nodes()).ok());
    EXPECT_EQ(
        std::memcmp(tree.nodes().front().gradient->data(), alone.gradient().data(), layout->floats() * sizeof(float)),
        0);
  });
}

}  // namespace
}  // namespace filigree::exchange
