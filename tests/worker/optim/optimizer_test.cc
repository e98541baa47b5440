#include "worker/optim/optimizer.h"

#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "worker/optim/blocks.h"

namespace filigree::optim {
namespace {

using testing_support::FillWeights;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 11;

// A vocabulary that makes the embeddings longer than one block, and odd.
model::ModelSpec Spec() {
  model::ModelSpec spec = SmallSpec();
  spec.vocab = 1999;
  spec.bigram = false;
  return spec;
}

bool SameBits(const model::Arena& a, const model::Arena& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Blocks, CoverEveryParameterOnce) {
  const model::Registry registry(Spec());
  const model::Layout layout(registry.numels());
  std::vector<int> seen(layout.floats(), 0);
  for (const Block& block : BlocksOf(layout)) {
    EXPECT_GT(block.size, 0);
    for (int64_t i = 0; i < block.size; ++i) ++seen[block.offset + i];
  }
  int64_t covered = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) covered += seen[layout.offset(info.index) + i] == 1;
  }
  EXPECT_EQ(covered, registry.trained_elements());
  int64_t total = 0;
  for (const int count : seen) total += count;
  EXPECT_EQ(total, registry.trained_elements());
}

TEST(MeasureGradient, IsTheNormOverTrainedElements) {
  const model::Registry registry(Spec());
  model::Arena gradient(registry);
  FillWeights(registry, kSeed, 0.01f, gradient);
  long double sum = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) {
      sum += static_cast<long double>(gradient.tensor(info)[i]) * gradient.tensor(info)[i];
    }
  }
  kernels::ThreadPool pool(1);
  const GradientSize size = MeasureGradient(gradient, pool);
  const auto norm = static_cast<double>(std::sqrt(sum));
  EXPECT_NEAR(size.norm, norm, 1e-12 * norm);
  const double rms = norm / std::sqrt(static_cast<double>(registry.trained_elements()));
  EXPECT_NEAR(size.rms, rms, 1e-12 * rms);
}

TEST(MeasureGradient, SameBitsForAnyThreadsAndWhateverThePadding) {
  const model::Registry registry(Spec());
  model::Arena gradient(registry), padded(registry);
  for (int64_t i = 0; i < padded.size(); ++i) padded.data()[i] = NAN;
  for (model::Arena* arena : {&gradient, &padded}) FillWeights(registry, kSeed, 0.01f, *arena);
  kernels::ThreadPool one(1), two(2), four(4);
  const GradientSize expected = MeasureGradient(gradient, one);
  for (kernels::ThreadPool* pool : {&two, &four}) {
    for (const model::Arena* arena : {&gradient, &padded}) {
      const GradientSize size = MeasureGradient(*arena, *pool);
      EXPECT_EQ(size.norm, expected.norm);
      EXPECT_EQ(size.rms, expected.rms);
    }
  }
}

TEST(MeasureGradient, ShowsWhatIsNotFinite) {
  const model::Registry registry(Spec());
  model::Arena gradient(registry);
  kernels::ThreadPool pool(1);
  gradient.tensor(registry[registry.lm_head()])[17] = NAN;
  EXPECT_TRUE(std::isnan(MeasureGradient(gradient, pool).norm));
  gradient.tensor(registry[registry.lm_head()])[17] = INFINITY;
  EXPECT_TRUE(std::isinf(MeasureGradient(gradient, pool).norm));
}

TEST(GradientScale, NormalisesAlwaysAndClipsAboveOne) {
  EXPECT_DOUBLE_EQ(GradientScale(config::GradientRule::kNormalise, 0.5), 1 / (0.5 + 1e-5));
  EXPECT_DOUBLE_EQ(GradientScale(config::GradientRule::kNormalise, 4), 1 / (4 + 1e-5));
  EXPECT_DOUBLE_EQ(GradientScale(config::GradientRule::kNormalise, 0), 1e5);
  EXPECT_EQ(GradientScale(config::GradientRule::kClip, 0.5), 1);
  EXPECT_EQ(GradientScale(config::GradientRule::kClip, 1), 1);
  EXPECT_EQ(GradientScale(config::GradientRule::kClip, 4), 0.25);
}

// Adam as it is defined, in double.
struct PlainAdam {
  explicit PlainAdam(int64_t n) : m(n), v(n), w(n) {}
  void Step(int64_t s, double lr, double scale, const config::OptimSettings& o, const float* g, double decay) {
    const double bias1 = 1 - std::pow(o.beta1, s + 1), bias2 = 1 - std::pow(o.beta2, s + 1);
    for (size_t i = 0; i < w.size(); ++i) {
      const double gi = g[i] * scale;
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * gi;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * gi * gi;
      w[i] = (w[i] - lr * (m[i] / bias1) / (std::sqrt(v[i] / bias2) + o.eps)) * decay;
    }
  }
  std::vector<double> m, v, w;
};

TEST(Optimizer, FollowsTheDefinition) {
  const model::Registry registry(Spec());
  config::OptimSettings settings;
  settings.weight_decay = 0.3;
  Optimizer optimizer(registry, settings);
  model::Arena weights(registry), gradient(registry);
  FillWeights(registry, kSeed, 0.1f, weights);
  // Every second tensor has a mask, so that its decay is not the optimiser's.
  const std::unique_ptr<bool[]> masked(new bool[registry.size()]);
  std::vector<PlainAdam> plain;
  for (int t = 0; t < registry.size(); ++t) {
    masked[t] = t % 2 == 0;
    plain.emplace_back(registry[t].numel());
    for (int64_t i = 0; i < registry[t].numel(); ++i) plain[t].w[i] = weights.tensor(registry[t])[i];
  }
  kernels::ThreadPool pool(2);
  constexpr int kSteps = 6;
  for (int s = 0; s < kSteps; ++s) {
    const double lr = 0.05 * s, scale = 3.0 / (s + 1);
    FillWeights(registry, kSeed + 1 + s, 0.2f, gradient);
    optimizer.Step(s, lr, scale, masked.get(), gradient, pool, weights);
    for (int t = 0; t < registry.size(); ++t) {
      const bool decays = registry[t].decays && !masked[t];
      plain[t].Step(s, lr, scale, settings, gradient.tensor(registry[t]), decays ? 1 - 0.3 * lr : 1);
    }
  }
  // A step rounds a handful of times; none is amplified, as eps = 0.1 keeps the quotient tame.
  const double bound = 8 * kSteps * FLT_EPSILON;
  for (int t = 0; t < registry.size(); ++t) {
    SCOPED_TRACE(testing::Message() << registry[t].name << ", seed " << kSeed);
    const size_t n = registry[t].numel();
    EXPECT_LT(testing_support::RelativeDistance(weights.tensor(registry[t]), plain[t].w.data(), n), bound);
    EXPECT_LT(testing_support::RelativeDistance(optimizer.m().tensor(registry[t]), plain[t].m.data(), n), bound);
    EXPECT_LT(testing_support::RelativeDistance(optimizer.v().tensor(registry[t]), plain[t].v.data(), n), bound);
  }
}

TEST(Optimizer, TheSameBitsForAnyNumberOfThreads) {
  const model::Registry registry(Spec());
  const std::unique_ptr<bool[]> masked(new bool[registry.size()]());
  std::vector<std::unique_ptr<model::Arena>> results;
  for (const int threads : {1, 2, 4}) {
    kernels::ThreadPool pool(threads);
    Optimizer optimizer(registry, {});
    results.push_back(std::make_unique<model::Arena>(registry));
    FillWeights(registry, kSeed, 0.1f, *results.back());
    model::Arena gradient(registry);
    for (int s = 0; s < 3; ++s) {
      FillWeights(registry, kSeed + 1 + s, 0.2f, gradient);
      optimizer.Step(s, 0.05, 2, masked.get(), gradient, pool, *results.back());
    }
    EXPECT_TRUE(SameBits(*results.back(), *results.front())) << threads << " threads";
  }
}

// Who looks at what was written is told of every value once, by its place in its tensor, and of no other tensor's.
TEST(Optimizer, SaysWhatItHasWritten) {
  const model::Registry registry(Spec());
  model::Arena gradient(registry), weights(registry);
  FillWeights(registry, kSeed, 0.01f, gradient);
  Optimizer optimizer(registry, config::OptimSettings());
  const auto masked = std::make_unique<bool[]>(registry.size());
  std::vector<std::vector<std::atomic<int>>> seen;
  for (const model::TensorInfo& info : registry.tensors()) seen.emplace_back(info.numel());
  Optimizer::Some some;
  some.wanted = [](int tensor) { return tensor % 2 == 0; };
  some.written = [&](int tensor, int64_t begin, int64_t size) {
    const float* m = optimizer.m().tensor(registry[tensor]);
    for (int64_t i = begin; i < begin + size; ++i) {
      seen[tensor].at(i) += m[i] != 0 || gradient.tensor(registry[tensor])[i] == 0 ? 1 : 100;
    }
  };
  kernels::ThreadPool pool(3);
  optimizer.StepTensors(0, 0.1, 1, masked.get(), gradient, pool, weights, some);
  for (const model::TensorInfo& info : registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) {
      ASSERT_EQ(seen[info.index][i], info.index % 2 == 0 ? 1 : 0) << info.name << ", " << i;
    }
  }
}

TEST(Optimizer, ALearningRateOfZeroMovesMomentsOnly) {
  const model::Registry registry(Spec());
  const std::unique_ptr<bool[]> masked(new bool[registry.size()]());
  kernels::ThreadPool pool(1);
  Optimizer optimizer(registry, {});
  model::Arena weights(registry), before(registry), gradient(registry);
  for (model::Arena* arena : {&weights, &before}) FillWeights(registry, kSeed, 0.1f, *arena);
  FillWeights(registry, kSeed + 1, 0.2f, gradient);
  optimizer.Step(0, 0, 1, masked.get(), gradient, pool, weights);
  EXPECT_TRUE(SameBits(weights, before));
  EXPECT_NE(optimizer.m().tensor(registry[registry.lm_head()])[0], 0);
  EXPECT_EQ(optimizer.DecayFactor(0), 1);
  EXPECT_EQ(optimizer.DecayFactor(0.5), static_cast<float>(1 - 0.1 * 0.5));
}

TEST(Optimizer, PaddingStaysZero) {
  const model::Registry registry(Spec());
  const std::unique_ptr<bool[]> masked(new bool[registry.size()]());
  kernels::ThreadPool pool(1);
  Optimizer optimizer(registry, {});
  model::Arena weights(registry), gradient(registry);
  for (int64_t i = 0; i < gradient.size(); ++i) gradient.data()[i] = 1;
  optimizer.Step(0, 0.1, 1, masked.get(), gradient, pool, weights);
  int64_t nonzero = 0;
  for (int64_t i = 0; i < weights.size(); ++i) nonzero += weights.data()[i] != 0;
  EXPECT_EQ(nonzero, registry.trained_elements());
}

}  // namespace
}  // namespace filigree::optim
