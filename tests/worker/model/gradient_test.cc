#include <cfloat>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "tests/worker/model/plain_model.h"
#include "worker/model/network.h"

// The gradient of every tensor against central differences of the plain model in double: along random directions, which
// no wrong entry escapes, and entry by entry at a few.

namespace filigree::model {
namespace {

using testing_support::FillWeights;
using testing_support::Rng;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 17;
constexpr double kStep = 1e-5;
// Gradients err like sums of some hundred fp32 terms, passed on through two layers.
constexpr double kTolerance = 64 * FLT_EPSILON;

struct Shape {
  int sequences, positions;
};

void CheckGradient(const ModelSpec& spec, Shape shape) {
  const int sequences = shape.sequences, positions = shape.positions;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", positions " << positions);
  const Registry registry(spec);
  Arena weights(registry), gradient(registry);
  FillWeights(registry, kSeed, 0.2f, weights);
  Rng rng(kSeed + 1);
  std::vector<int32_t> tokens(static_cast<size_t>(sequences) * positions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(spec.vocab));

  kernels::ThreadPool pool(2);
  Network network(spec, registry, pool);
  network.SetWeights(weights);
  const double scale = 1.0 / static_cast<double>(tokens.size());
  network.LossAndGradient({tokens.data(), sequences, positions}, scale, Network::Write::kOverwrite, gradient);
  double all = 0;
  for (int64_t i = 0; i < gradient.size(); ++i) all += static_cast<double>(gradient.data()[i]) * gradient.data()[i];

  PlainModel plain(spec, registry, weights);
  plain.FreezeSelections();
  plain.Loss(tokens, sequences, positions);
  // Derivative along `direction`, of norm 1.
  const auto slope = [&](int tensor, const std::vector<double>& direction) {
    const std::vector<double> old = plain.tensor(tensor);
    double loss[2];
    for (int side = 0; side < 2; ++side) {
      for (size_t i = 0; i < old.size(); ++i) plain.tensor(tensor)[i] = old[i] + (side * 2 - 1) * kStep * direction[i];
      loss[side] = plain.Loss(tokens, sequences, positions);
    }
    plain.tensor(tensor) = old;
    return scale * (loss[1] - loss[0]) / (2 * kStep);
  };
  for (int tensor = 0; tensor < registry.size(); ++tensor) {
    const TensorInfo& info = registry[tensor];
    const float* g = gradient.tensor(info);
    double norm = 0;
    for (int64_t i = 0; i < info.numel(); ++i) norm += static_cast<double>(g[i]) * g[i];
    const double bound = kTolerance * (std::sqrt(norm) + 1e-2 * std::sqrt(all));
    for (int trial = 0; trial < 6; ++trial) {
      std::vector<double> direction(info.numel(), 0.0);
      if (trial < 2) {
        for (double& d : direction) d = rng.Normal() / std::sqrt(static_cast<double>(info.numel()));
      } else {
        direction[rng.Below(info.numel())] = 1;
      }
      double expected = 0;
      for (int64_t i = 0; i < info.numel(); ++i) expected += direction[i] * g[i];
      EXPECT_NEAR(expected, slope(tensor, direction), bound) << info.name << ", trial " << trial;
    }
  }
}

TEST(Gradient, EveryOptionOn) { CheckGradient(SmallSpec(), {2, 66}); }

TEST(Gradient, NothingButTheDenseModel) {
  ModelSpec spec = SmallSpec();
  spec.afrac = 1;
  spec.d_pos_emb = 0;
  spec.sink = spec.bigram = false;
  CheckGradient(spec, {2, 33});
}

TEST(Gradient, ReluAndSomePlaces) {
  ModelSpec spec = SmallSpec();
  spec.activation = config::Activation::kRelu;
  for (const Place place : {Place::kQ, Place::kV, Place::kMlpIn, Place::kMlpOut})
    spec.topk[static_cast<int>(place)] = false;
  CheckGradient(spec, {3, 9});
}

TEST(Gradient, OneHeadWiderThanTheModel) {
  ModelSpec spec = SmallSpec();
  spec.n_head = 1;
  spec.d_head = 31;
  spec.n_layer = 1;
  spec.d_mlp = 5;
  CheckGradient(spec, {1, 65});
}

TEST(Gradient, InGroups) {
  ModelSpec spec = SmallSpec();
  spec.tensor_groups = 3;
  CheckGradient(spec, {2, 66});
  spec.tensor_groups = 4;
  CheckGradient(spec, {1, 20});
}

TEST(Gradient, TwoPositions) { CheckGradient(SmallSpec(), {4, 2}); }

}  // namespace
}  // namespace filigree::model
