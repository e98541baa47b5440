// The choice of instruction sets, and the exponential that all kernels share.

#include "kernels/base/simd.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/simd_targets.h"
#include "tests/support/avx2_only.h"
#include "tests/support/ulps.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/base/simd_test.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/exp-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

// y[i] = e^(x[i] + extra[i]); n is a multiple of 16.
void ExpOf(const float* x, const float* extra, size_t n, float* y) {
  const hn::CappedTag<float, 16> d;
  for (size_t i = 0; i < n; i += hn::MaxLanes(d)) {
    hn::StoreU(Exp(d, hn::LoadU(d, x + i), hn::LoadU(d, extra + i)), d, y + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {
namespace {

HWY_EXPORT(ExpOf);

using testing_support::Avx2Only;
using testing_support::FloatsUpTo;
using testing_support::UlpsOff;

std::vector<float> ExpAll(std::vector<float> x, std::vector<float> extra = {}) {
  const size_t n = x.size();
  x.resize((n + 15) / 16 * 16);
  extra.resize(x.size());
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(ExpOf)(x.data(), extra.data(), x.size(), y.data());
  y.resize(n);
  return y;
}

// Floats of [-87.3, 88].
std::vector<float> Arguments() {
  std::vector<float> x = FloatsUpTo(88.0f, /*step=*/1021);
  for (const float value : FloatsUpTo(87.3f, /*step=*/1021)) x.push_back(-value);
  return x;
}

TEST(Exp, IsWithinOneUlp) {
  const std::vector<float> x = Arguments(), y = ExpAll(x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, UlpsOff(y[i], std::exp(double{x[i]})));
  EXPECT_LT(worst, 1.0);
  EXPECT_GT(worst, 0.5) << "no rounding is that good: the test is blind";
}

TEST(Exp, AddsTheLowPartOfItsArgument) {
  const std::vector<float> x = {-50.0f, -3.3f, 0.0f, 20.5f, 80.0f}, extra = {1.7e-6f, -1e-7f, 3e-8f, -8e-7f, 3e-6f};
  const std::vector<float> y = ExpAll(x, extra);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_LT(UlpsOff(y[i], std::exp(double{x[i]} + double{extra[i]})), 1.0);
}

TEST(Exp, HasTheSameBitsInAvx2) {
  const std::vector<float> x = Arguments(), y = ExpAll(x);
  const Avx2Only only;
  EXPECT_EQ(y, ExpAll(x));
}

TEST(Exp, IsExactAtTheEdges) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> y = ExpAll({0.0f, -0.0f, -87.4f, -1e30f, -inf, std::nanf("")});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  for (int i : {2, 3, 4}) EXPECT_EQ(y[i], 0.0f);
  EXPECT_TRUE(std::isnan(y[5]));
}

TEST(Simd, CanBeRestrictedAndReleased) {
  ASSERT_TRUE(SimdSupported());
  const std::string before = SimdTargetName();
  {
    const Avx2Only only;
    EXPECT_EQ(SimdTargetName(), "AVX2");
    EXPECT_TRUE(SimdSupported());
  }
  EXPECT_EQ(SimdTargetName(), before);
}

}  // namespace
}  // namespace filigree::kernels
#endif  // HWY_ONCE
