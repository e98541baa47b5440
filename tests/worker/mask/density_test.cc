#include "worker/mask/density.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/support/tiles.h"
#include "worker/mask/min_alive.h"

namespace filigree::mask {
namespace {

using config::AnnealShape;
using config::SparsitySettings;

SparsitySettings Settings(double start, double end, double density, double embedding) {
  SparsitySettings settings;
  settings.anneal_start = start;
  settings.anneal_end = end;
  settings.density = density;
  settings.embedding_density = embedding;
  return settings;
}

// The definition as the paper writes it, in long double.
long double Plain(long double start, long double final, const SparsitySettings& settings, int64_t steps, int64_t s) {
  if (settings.anneal_shape == AnnealShape::kConstant) return final;
  const long double a = static_cast<long double>(settings.anneal_start) * steps;
  const long double b = static_cast<long double>(settings.anneal_end) * steps;
  long double x = b > a ? (s - a) / (b - a) : (s >= b ? 1 : 0);
  x = std::fmin(std::fmax(x, 0.0L), 1.0L);
  if (settings.anneal_shape == AnnealShape::kLinear) return start + (final - start) * x;
  return final + (start - final) * std::pow(1 - x, static_cast<long double>(settings.anneal_power));
}

TEST(Density, FollowsTheDefinitionAtEveryStep) {
  constexpr uint64_t kSeed = 1;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  testing_support::Rng rng(kSeed);
  for (int trial = 0; trial < 200; ++trial) {
    const double a = rng.Uniform() * 0.5;
    SparsitySettings settings = Settings(a, a + rng.Uniform() * 0.5, rng.Uniform() + 1e-3, rng.Uniform() + 1e-3);
    settings.anneal_shape = static_cast<AnnealShape>(rng.Below(3));
    settings.density_start = rng.Uniform() + 1e-3;
    settings.embedding_density_start = rng.Uniform() + 1e-3;
    settings.anneal_power = 0.5 + 4 * rng.Uniform();
    const int64_t steps = 1 + static_cast<int64_t>(rng.Below(60));
    for (int64_t s = 0; s < steps; ++s) {
      const Densities f = DensitiesAt(settings, steps, s);
      EXPECT_NEAR(f.weight, Plain(settings.density_start, settings.density, settings, steps, s), 1e-14);
      EXPECT_NEAR(f.embedding, Plain(settings.embedding_density_start, settings.embedding_density, settings, steps, s),
                  1e-14);
    }
  }
}

TEST(Density, TheEndsAreTheSettingsThemselves) {
  // 1 + (0.3 - 1) is not 0.3.
  const SparsitySettings settings = Settings(0.1, 0.5, 0.3, 0.7);
  EXPECT_EQ(DensitiesAt(settings, 100, 0).weight, 1);
  EXPECT_EQ(DensitiesAt(settings, 100, 10).weight, 1);
  EXPECT_LT(DensitiesAt(settings, 100, 11).weight, 1);
  EXPECT_GT(DensitiesAt(settings, 100, 49).weight, 0.3);
  for (const int64_t s : {50, 51, 99}) {
    EXPECT_EQ(DensitiesAt(settings, 100, s).weight, 0.3);
    EXPECT_EQ(DensitiesAt(settings, 100, s).embedding, 0.7);
  }
}

TEST(Density, TheWindowIsNotRounded) {
  // a = 0.35, b = 17.5: step 1 is inside already, step 17 still before the end.
  const SparsitySettings settings = Settings(0.01, 0.5, 0.25, 0.5);
  EXPECT_EQ(DensitiesAt(settings, 35, 0).weight, 1);
  EXPECT_NEAR(DensitiesAt(settings, 35, 1).weight, 1 - 0.75 * (1 - 0.35) / (17.5 - 0.35), 1e-15);
  EXPECT_NEAR(DensitiesAt(settings, 35, 17).weight, 1 - 0.75 * (17 - 0.35) / (17.5 - 0.35), 1e-15);
  EXPECT_EQ(DensitiesAt(settings, 35, 18).weight, 0.25);
}

TEST(Density, Corners) {
  // A window from the first step on, and one of no length, and one of no length at the first step.
  EXPECT_EQ(DensitiesAt(Settings(0, 0.5, 0.25, 0.5), 10, 0).weight, 1);
  EXPECT_NEAR(DensitiesAt(Settings(0, 0.5, 0.25, 0.5), 10, 1).weight, 0.85, 1e-15);
  EXPECT_EQ(DensitiesAt(Settings(0.5, 0.5, 0.25, 0.5), 10, 4).weight, 1);
  EXPECT_EQ(DensitiesAt(Settings(0.5, 0.5, 0.25, 0.5), 10, 5).weight, 0.25);
  EXPECT_EQ(DensitiesAt(Settings(0, 0, 0.25, 0.5), 10, 0).weight, 0.25);
  // A run of one step never gets anywhere; a window behind the end of the run neither.
  EXPECT_EQ(DensitiesAt(Settings(0.01, 0.5, 0.25, 0.5), 1, 0).weight, 1);
  // Start and target equal.
  SparsitySettings flat = Settings(0.1, 0.9, 0.3, 0.3);
  flat.density_start = 0.3;
  for (int64_t s = 0; s < 10; ++s) EXPECT_EQ(DensitiesAt(flat, 10, s).weight, 0.3);
  // Starting sparse and growing.
  flat.density_start = 0.1;
  EXPECT_NEAR(DensitiesAt(flat, 10, 5).weight, 0.2, 1e-15);
}

TEST(KeptEntries, FloorsInDouble) {
  EXPECT_EQ(KeptEntries(1, 12345), 12345);
  EXPECT_EQ(KeptEntries(1.0 / 64, 64), 1);
  EXPECT_EQ(KeptEntries(1.0 / 64, 63), 0);
  EXPECT_EQ(KeptEntries(0.5, 7), 3);
  EXPECT_EQ(KeptEntries(0.1, 30), 3);     // 0.1 * 30 is 3 in double
  EXPECT_EQ(KeptEntries(0.29, 100), 28);  // 0.29 * 100 is 28.999999999999996 in double
  EXPECT_EQ(KeptEntries(1.0 / 1024, int64_t{1} << 40), int64_t{1} << 30);
}

}  // namespace
}  // namespace filigree::mask
