#include "worker/report/series.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiles.h"

namespace filigree::report {
namespace {

const double kNan = std::nan("");

std::vector<Point> Noise(int n, uint64_t seed) {
  testing_support::Rng rng(seed);
  std::vector<Point> points;
  points.reserve(n);
  for (int i = 0; i < n; ++i) points.push_back({static_cast<double>(i), rng.Normal()});
  return points;
}

TEST(Thin, KeepsExtremesEndsAndOrder) {
  std::vector<Point> points = Noise(100'000, 1);
  points[54'321].y = 100;
  points[12'345].y = -100;
  const std::vector<Point> thin = Thin(points, 200);
  EXPECT_LE(thin.size(), 800U);
  EXPECT_GE(thin.size(), 400U);
  EXPECT_EQ(thin.front().x, 0);
  EXPECT_EQ(thin.back().x, 99'999);
  double low = 0, high = 0;
  for (size_t i = 0; i < thin.size(); ++i) {
    ASSERT_TRUE(i == 0 || thin[i].x > thin[i - 1].x);
    ASSERT_EQ(thin[i].y, points[static_cast<size_t>(thin[i].x)].y);
    low = std::min(low, thin[i].y);
    high = std::max(high, thin[i].y);
  }
  EXPECT_EQ(low, -100);
  EXPECT_EQ(high, 100);
}

TEST(Thin, LeavesShortCurvesAlone) {
  EXPECT_EQ(Thin(Noise(800, 2), 200).size(), 800U);
  EXPECT_TRUE(Thin({}, 200).empty());
}

TEST(Thin, GapsStay) {
  std::vector<Point> points = Noise(10'000, 3);
  for (size_t i = 4000; i < 6000; ++i) points[i].y = kNan;
  points[7].y = INFINITY;
  int gaps = 0;
  for (const Point& p : Thin(points, 100)) {
    gaps += std::isnan(p.y) ? 1 : 0;
    EXPECT_FALSE(std::isinf(p.y));
  }
  EXPECT_EQ(gaps, 20);
}

TEST(Average, IsTheMeanOfEachBucket) {
  const std::vector<Point> points = {{0, 1}, {1, 3}, {2, kNan}, {3, 5}, {4, kNan}, {5, kNan}};
  const std::vector<Point> mean = Average(points, 3);
  ASSERT_EQ(mean.size(), 2U);
  EXPECT_EQ(mean[0].x, 0.5);
  EXPECT_EQ(mean[0].y, 2);
  EXPECT_EQ(mean[1].x, 3);
  EXPECT_EQ(mean[1].y, 5);
  EXPECT_EQ(Average(points, 100).size(), 3U);
  EXPECT_TRUE(Average({}, 5).empty());
}

TEST(RunningMean, IsTheMeanOfTheWindow) {
  std::vector<Point> points = Noise(500, 4);
  points[100].y = kNan;
  points[101].y = INFINITY;
  const std::vector<Point> mean = RunningMean(points, 7);
  ASSERT_EQ(mean.size(), points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    double sum = 0, n = 0;
    for (size_t j = i >= 6 ? i - 6 : 0; j <= i; ++j)
      if (std::isfinite(points[j].y)) {
        sum += points[j].y;
        ++n;
      }
    ASSERT_NEAR(mean[i].y, sum / n, 1e-12) << i;
  }
  EXPECT_TRUE(std::isnan(RunningMean({{0, kNan}}, 3)[0].y));
}

}  // namespace
}  // namespace filigree::report
