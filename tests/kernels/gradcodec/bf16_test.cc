#include "kernels/gradcodec/bf16.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::Rng;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kSizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 1001};

float FromBits(uint64_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }
uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

float Decoded(uint16_t x) {
  float y;
  DecodeBf16(1, &x, &y);
  return y;
}

// Values around every kind of edge: all bit patterns, ties of rounding, subnormals, what rounds to infinity.
std::vector<float> Edges(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n);
  for (float& value : x) {
    switch (rng.Below(7)) {
      case 0:
        value = FromBits(rng.Below(uint64_t{1} << 32));
        break;
      case 1:
        value = FromBits(rng.Below(1 << 16) << 16 | 0x8000);
        break;
      case 2:
        value = FromBits(rng.Below(1 << 16) << 16 | (0x7fff + rng.Below(3)));
        break;
      case 3:
        value = rng.Normal() * 1e-40f;
        break;
      case 4:
        value = FromBits(0x7f7f0000 + rng.Below(1 << 17)) * (rng.Below(2) ? 1.0f : -1.0f);
        break;
      case 5:
        value = rng.Below(2) ? 0.0f : -0.0f;
        break;
      default:
        value = rng.Normal();
    }
  }
  return x;
}

// Quiet NaNs of one payload, so that the sum of two has bits that are fixed.
void CalmNans(std::vector<float>& x) {
  for (float& value : x) {
    if (std::isnan(value)) value = kNan;
  }
}

TEST(Bf16, EncodesTheNearestNumberByDefinition) {
  const std::vector<float> x = Edges(200'000, /*seed=*/1);
  std::vector<uint16_t> out(x.size());
  EncodeBf16(std::ssize(x), x.data(), out.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const float y = Decoded(out[i]);
    if (std::isnan(x[i])) {
      ASSERT_EQ(out[i], std::signbit(x[i]) ? 0xffc0 : 0x7fc0);
      continue;
    }
    ASSERT_EQ(std::signbit(x[i]), std::signbit(y)) << x[i];
    if (std::isinf(x[i])) {
      ASSERT_EQ(x[i], y);
      continue;
    }
    ASSERT_TRUE(std::isfinite(y)) << x[i];
    const double error = std::abs(double{x[i]} - y);
    for (const int step : {-1, 1}) {
      const auto neighbour = static_cast<uint16_t>(out[i] + step);
      if ((out[i] & 0x7fff) == 0 && step < 0) continue;
      const float other = Decoded(neighbour);
      if (!std::isfinite(other)) continue;
      ASSERT_LE(error, std::abs(double{x[i]} - other)) << x[i];
      if (error == std::abs(double{x[i]} - other)) {
        ASSERT_EQ(out[i] % 2, 0) << "a tie goes to the even one";
      }
    }
  }
}

TEST(Bf16, EveryBf16NumberComesBack) {
  std::vector<uint16_t> all(1 << 16), back(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> values(all.size());
  DecodeBf16(std::ssize(all), all.data(), values.data());
  EncodeBf16(std::ssize(all), values.data(), back.data());
  for (size_t i = 0; i < all.size(); ++i) {
    if (std::isnan(values[i])) {
      EXPECT_EQ(back[i], (i & 0x8000) | 0x7fc0);
    } else {
      ASSERT_EQ(back[i], all[i]);
    }
  }
}

TEST(Bf16, HasTheReferencesBitsInBothInstructionSets) {
  for (const int64_t n : kSizes) {
    SCOPED_TRACE(n);
    std::vector<float> gradient = Edges(n, /*seed=*/2), start = Edges(n, /*seed=*/3);
    CalmNans(gradient);
    CalmNans(start);
    std::vector<float> plain = start, sum = start, decoded(n);
    std::vector<uint16_t> out(n), rounded(n);
    ref::EncodeBf16WithFeedback(n, gradient.data(), plain.data(), out.data());
    ref::EncodeBf16(n, gradient.data(), rounded.data());
    ref::DecodeBf16(n, out.data(), decoded.data());
    ref::AddBf16(n, out.data(), sum.data());
    const auto expect_same = [&] {
      std::vector<float> fast = start, fast_sum = start, fast_decoded(n);
      std::vector<uint16_t> fast_out(n), fast_rounded(n);
      EncodeBf16WithFeedback(n, gradient.data(), fast.data(), fast_out.data());
      EncodeBf16(n, gradient.data(), fast_rounded.data());
      DecodeBf16(n, out.data(), fast_decoded.data());
      AddBf16(n, out.data(), fast_sum.data());
      EXPECT_EQ(fast_out, out);
      EXPECT_EQ(fast_rounded, rounded);
      EXPECT_TRUE(SameBits(fast, plain));
      EXPECT_TRUE(SameBits(fast_decoded, decoded));
      EXPECT_TRUE(SameBits(fast_sum, sum));
    };
    expect_same();
    const Avx2Only only;
    expect_same();
  }
}

TEST(Bf16, KeepsExactlyWhatRoundingLoses) {
  const int64_t n = 50'000;
  const std::vector<float> gradient = Edges(n, /*seed=*/4);
  std::vector<float> residual(n);
  std::vector<uint16_t> out(n);
  EncodeBf16WithFeedback(n, gradient.data(), residual.data(), out.data());
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(gradient[i])) {
      ASSERT_EQ(BitsOf(residual[i]), 0u) << "a bad step poisons no other";
    } else {
      ASSERT_EQ(double{Decoded(out[i])} + residual[i], double{gradient[i]});
    }
  }
}

// What was sent in many steps plus the residual is the sum of the gradients, as fp32 sums it: the distance does not
// grow as it would without feedback.
TEST(Bf16, NothingIsLostOverManySteps) {
  Rng rng(/*seed=*/5);
  const int64_t n = 257;
  std::vector<float> gradient(n), residual(n), sent(n);
  std::vector<double> truth(n), arrived(n), without(n);
  std::vector<uint16_t> out(n), lossy(n);
  for (int step = 0; step < 1000; ++step) {
    for (int64_t i = 0; i < n; ++i) gradient[i] = 1.0f + 0.001f * rng.Normal();
    EncodeBf16WithFeedback(n, gradient.data(), residual.data(), out.data());
    EncodeBf16(n, gradient.data(), lossy.data());
    for (int64_t i = 0; i < n; ++i) {
      truth[i] += gradient[i];
      arrived[i] += Decoded(out[i]);
      without[i] += Decoded(lossy[i]);
    }
  }
  double worst = 0, worst_without = 0;
  for (int64_t i = 0; i < n; ++i) {
    worst = std::max(worst, std::abs(arrived[i] + residual[i] - truth[i]));
    worst_without = std::max(worst_without, std::abs(without[i] - truth[i]));
  }
  // A step adds at most half an ulp of 1 in fp32.
  EXPECT_LE(worst, 1000 * std::ldexp(1.0, -24));
  EXPECT_GT(worst_without, 100 * worst);
}

TEST(Bf16, HoldsBackWhatIsBeyondTheLargest) {
  const float largest = Decoded(0x7f7f);
  const float gradient[] = {std::numeric_limits<float>::max(),
                            -std::numeric_limits<float>::max(),
                            kInfinity,
                            -kInfinity,
                            kNan,
                            -kNan,
                            largest};
  float residual[std::size(gradient)] = {};
  uint16_t out[std::size(gradient)];
  EncodeBf16WithFeedback(std::ssize(gradient), gradient, residual, out);
  const uint16_t expected[] = {0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xffc0, 0x7f7f};
  for (size_t i = 0; i < std::size(gradient); ++i) EXPECT_EQ(out[i], expected[i]) << gradient[i];
  EXPECT_EQ(residual[0], std::numeric_limits<float>::max() - largest);
  EXPECT_EQ(residual[1], -residual[0]);
  for (const int i : {2, 3, 4, 5, 6}) EXPECT_EQ(BitsOf(residual[i]), 0u);
}

TEST(Bf16, DoesNotDependOnHowAnArrayIsCut) {
  const int64_t n = 1001;
  std::vector<float> gradient = Edges(n, /*seed=*/6), whole = Edges(n, /*seed=*/7);
  CalmNans(gradient);
  CalmNans(whole);
  std::vector<float> cut = whole;
  std::vector<uint16_t> a(n), b(n);
  EncodeBf16WithFeedback(n, gradient.data(), whole.data(), a.data());
  for (int64_t first = 0, part = 1; first < n; first += part, part = part * 3 % 67) {
    part = std::min(part, n - first);
    EncodeBf16WithFeedback(part, gradient.data() + first, cut.data() + first, b.data() + first);
  }
  EXPECT_EQ(a, b);
  EXPECT_TRUE(SameBits(whole, cut));
}

}  // namespace
}  // namespace filigree::kernels
