#include "worker/telemetry/z_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/tiles.h"

namespace filigree::telemetry {
namespace {

// The definition, word by word.
double Defined(const std::vector<double>& past, double x) {
  const size_t n = std::min<size_t>(past.size(), 128);
  if (n < 8) return 0;
  long double sum = 0, squares = 0;
  for (size_t i = past.size() - n; i < past.size(); ++i) sum += past[i];
  const long double mean = sum / n;
  for (size_t i = past.size() - n; i < past.size(); ++i) squares += (past[i] - mean) * (past[i] - mean);
  const long double sd = std::sqrt(squares / n);
  return sd > 0 ? static_cast<double>((x - mean) / sd) : 0;
}

TEST(ZScore, IsWhatItsDefinitionSays) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  testing_support::Rng rng(kSeed);
  ZScore z;
  std::vector<double> past;
  for (int i = 0; i < 700; ++i) {
    const double x = 3 + 4 * std::exp(-i / 100.0) + 0.1 * rng.Normal();
    ASSERT_NEAR(z.Add(x), Defined(past, x), 1e-9) << i;
    past.push_back(x);
  }
}

TEST(ZScore, IsZeroOverFewOrEqualValues) {
  ZScore z;
  for (int i = 0; i < 300; ++i) EXPECT_EQ(z.Add(0.1), 0) << i;
  EXPECT_EQ(z.Add(0.2), 0);  // the window still had no spread
  EXPECT_NE(z.Add(0.2), 0);
  ZScore few;
  for (int i = 0; i < 8; ++i) EXPECT_EQ(few.Add(i * i), 0);
  EXPECT_NE(few.Add(1000), 0);
}

TEST(ZScore, LeavesOutWhatIsNotFinite) {
  ZScore with, without;
  for (int i = 0; i < 200; ++i) {
    const double x = std::sin(i);
    EXPECT_EQ(with.Add(x), without.Add(x));
    if (i % 3 != 0) continue;
    EXPECT_EQ(with.Add(std::numeric_limits<double>::quiet_NaN()), 0);
    EXPECT_EQ(with.Add(std::numeric_limits<double>::infinity()), 0);
  }
}

// The same window gives the same bits, however it came about.
TEST(ZScore, DependsOnTheWindowAlone) {
  ZScore resumed, whole;
  std::vector<double> values;
  values.reserve(300);
  for (int i = 0; i < 300; ++i) values.push_back(std::cos(i * 0.7) * 3);
  for (const double x : values) whole.Add(x);
  for (size_t i = values.size() - 128; i < values.size(); ++i) resumed.Add(values[i]);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(whole.Add(std::sin(i)), resumed.Add(std::sin(i)));
}

}  // namespace
}  // namespace filigree::telemetry
