// The golden cases' models shared by 2 and 4 ranks: loss and every gradient have the bits of one rank, whose distance
// from the authors' code the program parity measures.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/run_case.h"
#include "tests/worker/model/thread_group.h"
#include "worker/model/network.h"

namespace filigree::parity {
namespace {

using model::Arena;
using model::Network;
using model::Registry;
using model::TensorInfo;

// Everything is a candidate, or every tensor whole: values lie by their index here either way.
struct Rank {
  Rank(const GoldenCase& golden, model::Shard shard, config::Regime regime)
      : registry(golden.spec, shard), weights(LayoutFor(regime, registry)), gradient(weights.shared_layout()) {}
  const Registry registry;
  Arena weights, gradient;
  double loss = 0;
};

void Compute(const GoldenCase& golden, Rank& rank, model::TensorGroup* group) {
  kernels::ThreadPool pool(1);
  Network network(golden.spec, rank.registry, pool, group);
  network.SetWeights(rank.weights);
  const double predicted = static_cast<double>(golden.batch) * (golden.positions - 1);
  rank.loss = network.LossAndGradient({golden.tokens.data(), golden.batch, golden.positions}, 1 / predicted,
                                      Network::Write::kOverwrite, rank.gradient);
  EXPECT_TRUE(network.status().ok()) << network.status();
}

void CompareRanks(const GoldenCase& golden, int size, config::Regime regime) {
  Rank whole(golden, {}, regime);
  const absl::Status read = ReadWeights(golden, whole.registry, whole.weights);
  ASSERT_TRUE(read.ok()) << read;
  Compute(golden, whole, nullptr);
  std::vector<std::unique_ptr<Rank>> parts;
  for (int r = 0; r < size; ++r) {
    parts.push_back(std::make_unique<Rank>(golden, model::Shard{r, size}, regime));
    for (const TensorInfo& info : parts[r]->registry.tensors()) {
      const float* from = whole.weights.tensor(whole.registry[info.index]);
      for (int64_t i = 0; i < info.numel(); ++i) parts[r]->weights.tensor(info)[i] = from[info.WholeIndex(i)];
    }
  }
  model::ThreadRanks ranks(size);
  ranks.Run([&](int r) { Compute(golden, *parts[r], &ranks.rank(r)); });
  for (const auto& part : parts) {
    EXPECT_EQ(part->loss, whole.loss);
    for (const TensorInfo& info : part->registry.tensors()) {
      if (info.numel() == 0) continue;
      const float* from = whole.gradient.tensor(whole.registry[info.index]);
      std::vector<float> expected(info.numel());
      for (int64_t i = 0; i < info.numel(); ++i) expected[i] = from[info.WholeIndex(i)];
      EXPECT_EQ(std::memcmp(part->gradient.tensor(info), expected.data(), expected.size() * sizeof(float)), 0)
          << info.name << " of rank " << part->registry.shard().rank;
    }
  }
}

TEST(ShardedCases, RanksComputeTheBitsOfOne) {
  const auto names = FindCases(FILIGREE_GOLDEN);
  ASSERT_TRUE(names.ok()) << names.status();
  for (const std::string& name : *names) {
    for (const int groups : {2, 3, 4, 6}) {  // of three heads
      for (const int size : {2, 3, 4}) {
        if (groups % size != 0) continue;
        for (const config::Regime regime : {config::Regime::kExact, config::Regime::kActive}) {
          SCOPED_TRACE(testing::Message() << name << ", " << groups << " groups, " << size << " ranks"
                                          << (regime == config::Regime::kActive ? ", on candidates" : ""));
          auto golden = ReadCase(FILIGREE_GOLDEN, name);
          ASSERT_TRUE(golden.ok()) << golden.status();
          golden->spec.tensor_groups = groups;
          CompareRanks(*golden, size, regime);
        }
      }
    }
  }
}

}  // namespace
}  // namespace filigree::parity
