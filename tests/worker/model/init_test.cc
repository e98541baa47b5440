#include <cmath>
#include <cstring>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "worker/model/arena.h"

namespace filigree::model {
namespace {

constexpr uint64_t kSeed = 42;

ModelSpec Spec() {
  ModelSpec spec = testing_support::SmallSpec();
  spec.d_model = 120;
  spec.n_head = 8;
  spec.d_head = 15;
  spec.d_mlp = 333;
  spec.vocab = 301;
  return spec;
}

struct Moments {
  double mean = 0, deviation = 0, least = INFINITY, most = -INFINITY;
};
Moments MomentsOf(const float* w, int64_t n) {
  Moments m;
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    m.mean += w[i] / static_cast<double>(n);
    squares += static_cast<double>(w[i]) * w[i] / static_cast<double>(n);
    m.least = std::min<double>(m.least, w[i]);
    m.most = std::max<double>(m.most, w[i]);
  }
  m.deviation = std::sqrt(squares - m.mean * m.mean);
  return m;
}

TEST(Init, FollowsTheSpecifiedDistributions) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const Registry registry(Spec());
  Arena weights(registry);
  kernels::ThreadPool pool(2);
  InitialiseWeights(registry, kSeed, pool, weights);
  for (const TensorInfo& info : registry.tensors()) {
    SCOPED_TRACE(info.name);
    const auto n = static_cast<double>(info.numel());
    const Moments m = MomentsOf(weights.tensor(info), info.numel());
    const bool gain = info.kind.find("ln_") != std::string::npos;
    if (gain || info.density == Density::kBias || info.kind == "attn.attn_imp.sink_logit") {
      EXPECT_EQ(m.least, gain ? 1 : 0);
      EXPECT_EQ(m.most, gain ? 1 : 0);
      continue;
    }
    if (info.name == "bigram_table") {
      EXPECT_GE(m.least, 0);
      EXPECT_LT(m.most, 0.02 * (1 + 1e-7));
      EXPECT_NEAR(m.mean, 0.01, 5 * 0.02 / std::sqrt(12 * n));
      EXPECT_NEAR(m.deviation, 0.02 / std::sqrt(12.0), 5 * 0.01 / std::sqrt(n));
      continue;
    }
    const bool projection = info.kind.ends_with("c_proj.weight");
    const double deviation = projection ? 0.02 / std::sqrt(2.0 * 2) : 0.02;
    EXPECT_NEAR(m.mean, 0, 5 * deviation / std::sqrt(n));
    EXPECT_NEAR(m.deviation, deviation, 5 * deviation / std::sqrt(2 * n));
    // N(0, 1) leaves six deviations once in 5e8 draws.
    EXPECT_LT(std::max(-m.least, m.most), 6 * deviation);
    EXPECT_GT(std::max(-m.least, m.most), 2 * deviation);
  }
}

TEST(Init, DependsOnSeedAndNameAlone) {
  const ModelSpec spec = Spec();
  ModelSpec smaller = spec;
  smaller.bigram = smaller.sink = false;
  const Registry registry(spec), other(smaller);
  Arena one(registry), two(registry), fewer(other), reseeded(registry);
  kernels::ThreadPool pool1(1), pool4(4);
  InitialiseWeights(registry, kSeed, pool1, one);
  InitialiseWeights(registry, kSeed, pool4, two);
  InitialiseWeights(other, kSeed, pool4, fewer);
  InitialiseWeights(registry, kSeed + 1, pool1, reseeded);
  EXPECT_EQ(std::memcmp(one.data(), two.data(), one.size() * sizeof(float)), 0);
  for (const TensorInfo& info : other.tensors()) {
    const TensorInfo& same = registry[registry.Find(info.name)];
    const size_t bytes = info.numel() * sizeof(float);
    EXPECT_EQ(std::memcmp(fewer.tensor(info), one.tensor(same), bytes), 0) << info.name;
    if (info.init != Init::kNormal) continue;
    EXPECT_NE(std::memcmp(reseeded.tensor(same), one.tensor(same), bytes), 0) << info.name;
  }
}

TEST(Init, TensorsOfEqualShapeDiffer) {
  const Registry registry(Spec());
  Arena weights(registry);
  kernels::ThreadPool pool(1);
  InitialiseWeights(registry, kSeed, pool, weights);
  const float* a = weights.tensor(registry[registry.layer(0).c_fc]);
  const float* b = weights.tensor(registry[registry.layer(1).c_fc]);
  int equal = 0;
  for (int64_t i = 0; i < registry[registry.layer(0).c_fc].numel(); ++i) equal += a[i] == b[i];
  EXPECT_LT(equal, 10);
}

}  // namespace
}  // namespace filigree::model
