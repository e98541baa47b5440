#include "worker/report/axis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/support/tiles.h"

namespace filigree::report {
namespace {

std::vector<std::string> Labels(const Axis& axis, int wanted) {
  std::vector<std::string> labels;
  for (const Tick& tick : Ticks(axis, wanted)) labels.push_back(tick.label);
  return labels;
}

using Words = std::vector<std::string>;

TEST(Ticks, AreRoundValues) {
  EXPECT_EQ(Labels({Scale::kLinear, 0, 1000}, 5), (Words{"0", "200", "400", "600", "800", "1000"}));
  EXPECT_EQ(Labels({Scale::kLinear, 0, 60000}, 6), (Words{"0", "10k", "20k", "30k", "40k", "50k", "60k"}));
  EXPECT_EQ(Labels({Scale::kLinear, 2.71, 3.9}, 6), (Words{"2.8", "3.0", "3.2", "3.4", "3.6", "3.8"}));
  EXPECT_EQ(Labels({Scale::kLinear, -1, 1}, 4), (Words{"-1.0", "-0.5", "0.0", "0.5", "1.0"}));
  EXPECT_EQ(Labels({Scale::kLog, 0.001, 10}, 5), (Words{"0.001", "0.01", "0.1", "1", "10"}));
  EXPECT_EQ(Labels({Scale::kLog, 0.9, 110}, 5), (Words{"1", "2", "5", "10", "20", "50", "100"}));
  EXPECT_EQ(Labels({Scale::kDensity, 1.0 / 16, 1}, 5), (Words{"1/16", "1/8", "1/4", "1/2", "1"}));
  EXPECT_EQ(Labels({Scale::kDensity, 1.0 / 1024, 1}, 5), (Words{"1/1024", "1/256", "1/64", "1/16", "1/4", "1"}));
}

TEST(FitAxis, HoldsTheValuesWithRoom) {
  const Axis axis = FitAxis(Scale::kLinear, 2, 4, false);
  EXPECT_LT(axis.low, 2);
  EXPECT_GT(axis.high, 4);
  EXPECT_EQ(FitAxis(Scale::kLinear, 2, 4, true).low, 0);
  EXPECT_LT(FitAxis(Scale::kLinear, -2, 4, true).low, -2);
  EXPECT_EQ(FitAxis(Scale::kAuto, 1, 31, false).scale, Scale::kLog);
  EXPECT_EQ(FitAxis(Scale::kAuto, 1, 29, false).scale, Scale::kLinear);
  EXPECT_EQ(FitAxis(Scale::kAuto, 0, 29, false).scale, Scale::kLinear);
  EXPECT_EQ(FitAxis(Scale::kLog, 0, 29, false).scale, Scale::kLinear);
}

TEST(Axis, PlacesFromLowToHigh) {
  const Axis log{Scale::kLog, 0.01, 100};
  EXPECT_EQ(log.Place(0.01), 0);
  EXPECT_DOUBLE_EQ(log.Place(1), 0.5);
  EXPECT_DOUBLE_EQ(log.Place(100), 1);
  EXPECT_EQ(log.Place(-5), 0);
  EXPECT_EQ(log.Place(INFINITY), 1);
  EXPECT_TRUE(std::isnan(log.Place(std::nan(""))));
  const Axis linear{Scale::kLinear, -2, 2};
  EXPECT_DOUBLE_EQ(linear.Place(1), 0.75);
}

// Any range whatever: a few ticks inside, ascending, told apart by their labels.
TEST(Ticks, ServeEveryRange) {
  constexpr uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  testing_support::Rng rng(kSeed);
  for (int round = 0; round < 20000; ++round) {
    const double size = std::pow(10, 40 * (rng.Uniform() - 0.5));
    const bool flat = rng.Below(10) == 0;
    double low = size * rng.Uniform(), high = flat ? low : low + size * std::pow(10, 6 * (rng.Uniform() - 0.5));
    const auto scale = static_cast<Scale>(rng.Below(4));
    if (scale == Scale::kLinear && rng.Below(2) == 0) {
      std::swap(low, high);
      low = -low;
      high = -high;
    }
    const Axis axis = FitAxis(scale, low, high, rng.Below(2) == 0);
    ASSERT_NE(axis.scale, Scale::kAuto);
    ASSERT_LT(axis.low, axis.high) << low << " " << high;
    ASSERT_LE(axis.low, low);
    ASSERT_GE(axis.high, high);
    const std::vector<Tick> ticks = Ticks(axis, 5);
    ASSERT_LE(ticks.size(), 12U) << axis.low << " " << axis.high;
    for (size_t i = 0; i < ticks.size(); ++i) {
      const double place = axis.Place(ticks[i].value);
      ASSERT_GE(place, -1e-6);
      ASSERT_LE(place, 1 + 1e-6);
      ASSERT_TRUE(i == 0 || ticks[i].value > ticks[i - 1].value);
    }
    ASSERT_TRUE(flat || !ticks.empty()) << axis.low << " " << axis.high << " " << static_cast<int>(axis.scale);
  }
}

}  // namespace
}  // namespace filigree::report
