#include "worker/optim/learning_rate.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/support/tiles.h"

namespace filigree::optim {
namespace {

config::OptimSettings Settings(double lr, double warmup) {
  config::OptimSettings settings;
  settings.lr = lr;
  settings.warmup = warmup;
  return settings;
}

// The definition in long double; w is floored from the product in double, as a person would compute it.
long double Plain(const config::OptimSettings& settings, int64_t steps, int64_t s, double f, double final) {
  const int64_t w = std::floor(settings.warmup * static_cast<double>(steps));
  const long double factor =
      s < w ? static_cast<long double>(s) / w : static_cast<long double>(steps - s) / (steps - w);
  const long double sharkfin = std::sqrt(static_cast<long double>(final) / f);
  return settings.lr * factor * (settings.lr_density_scaling ? sharkfin : 1);
}

TEST(LearningRate, FollowsTheDefinition) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  testing_support::Rng rng(kSeed);
  for (int trial = 0; trial < 300; ++trial) {
    config::OptimSettings settings = Settings(0.2 * rng.Uniform() + 1e-4, trial % 5 == 0 ? 0 : rng.Uniform());
    settings.lr_density_scaling = trial % 2 == 0;
    const int64_t steps = 1 + static_cast<int64_t>(rng.Below(100));
    for (int64_t s = 0; s < steps; ++s) {
      const double f = 0.01 + 0.99 * rng.Uniform(), final = 0.01 + 0.99 * rng.Uniform();
      const auto expected = static_cast<double>(Plain(settings, steps, s, f, final));
      EXPECT_NEAR(LearningRate(settings, steps, s, f, final), expected, 1e-12 * expected);
    }
  }
}

TEST(LearningRate, FirstAndLastStep) {
  const config::OptimSettings settings = Settings(0.5, 0.1);
  EXPECT_EQ(LearningRate(settings, 100, 0, 1, 1), 0);
  EXPECT_DOUBLE_EQ(LearningRate(settings, 100, 5, 1, 1), 0.25);
  EXPECT_DOUBLE_EQ(LearningRate(settings, 100, 10, 1, 1), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(settings, 100, 99, 1, 1), 0.5 / 90);
}

TEST(LearningRate, WithoutWarmupTheFirstStepIsFull) {
  EXPECT_EQ(LearningRate(Settings(0.5, 0), 100, 0, 1, 1), 0.5);
  // floor(0.01 * 99) = 0: no warmup either.
  EXPECT_EQ(LearningRate(Settings(0.5, 0.01), 99, 0, 1, 1), 0.5);
  EXPECT_EQ(LearningRate(Settings(0.5, 0.01), 100, 0, 1, 1), 0);
}

TEST(LearningRate, RunsOfOneStepAndOfWarmupAlone) {
  EXPECT_EQ(LearningRate(Settings(0.5, 0.01), 1, 0, 1, 1), 0.5);
  EXPECT_EQ(LearningRate(Settings(0.5, 1), 4, 0, 1, 1), 0);
  EXPECT_DOUBLE_EQ(LearningRate(Settings(0.5, 1), 4, 3, 1, 1), 0.375);
}

TEST(LearningRate, DensityFactorIsExactlyOneAtTheTarget) {
  EXPECT_EQ(LearningRate(Settings(0.3, 0), 7, 0, 0.3, 0.3), 0.3);
  EXPECT_DOUBLE_EQ(LearningRate(Settings(0.5, 0), 100, 0, 1, 1.0 / 64), 0.5 / 8);
  config::OptimSettings plain = Settings(0.5, 0);
  plain.lr_density_scaling = false;
  EXPECT_EQ(LearningRate(plain, 100, 0, 1, 1.0 / 64), 0.5);
}

}  // namespace
}  // namespace filigree::optim
