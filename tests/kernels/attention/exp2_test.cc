// The power of two inside attention's softmax.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/simd_targets.h"
#include "tests/support/avx2_only.h"
#include "tests/support/fingerprint.h"
#include "tests/support/ulps.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/attention/exp2_test.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/attention/exp2-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

// y[i] = 2^x[i]; n is a multiple of 16.
void Exp2Of(const float* x, size_t n, float* y) {
  const hn::CappedTag<float, 16> d;
  for (size_t i = 0; i < n; i += hn::MaxLanes(d)) hn::StoreU(Exp2(d, hn::LoadU(d, x + i)), d, y + i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {
namespace {

HWY_EXPORT(Exp2Of);

using testing_support::Avx2Only;
using testing_support::FloatsUpTo;
using testing_support::UlpsOff;

std::vector<float> Exp2All(std::vector<float> x) {
  const size_t n = x.size();
  x.resize((n + 15) / 16 * 16);
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(Exp2Of)(x.data(), x.size(), y.data());
  y.resize(n);
  return y;
}

std::vector<float> Arguments() {
  std::vector<float> x = FloatsUpTo(126.0f, /*step=*/1021);
  for (float& value : x) value = -value;
  return x;
}

TEST(Exp2, IsWithinOneUlp) {
  const std::vector<float> x = Arguments(), y = Exp2All(x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, UlpsOff(y[i], std::exp2(double{x[i]})));
  EXPECT_LT(worst, 1.0);
  EXPECT_GT(worst, 0.5) << "no rounding is that good: the test is blind";
}

TEST(Exp2, HasTheRecordedBits) { EXPECT_EQ(testing_support::Fingerprint(Exp2All(Arguments())), 13909317946416900658u); }

TEST(Exp2, HasTheSameBitsInAvx2) {
  const std::vector<float> x = Arguments(), y = Exp2All(x);
  const Avx2Only only;
  EXPECT_EQ(y, Exp2All(x));
}

TEST(Exp2, IsExactAtTheEdges) {
  const float inf = std::numeric_limits<float>::infinity(), lowest = std::numeric_limits<float>::lowest();
  const std::vector<float> y = Exp2All({0.0f, -0.0f, -1.0f, -126.0f, -126.1f, -1e10f, lowest, -inf});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], 0.5f);
  EXPECT_EQ(y[3], 0x1p-126f);
  for (const int i : {4, 5, 6, 7}) EXPECT_EQ(y[i], 0.0f);
}

}  // namespace
}  // namespace filigree::kernels
#endif  // HWY_ONCE
