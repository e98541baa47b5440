#include "kernels/rms_norm/rms_norm.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/rms_norm/rms_norm_ref.h"
#include "tests/support/avx2_only.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::GradientError;
using testing_support::OwnedTile;
using testing_support::Rng;

// Everything RMSNorm reads and writes, forward and backward.
struct Norm {
  explicit Norm(int channels, uint64_t seed, float size = 1)
      : x(channels), y(channels), dy(channels), dx(channels), gain(channels), dgain(channels), r(kTileTokens) {
    Rng rng(seed);
    x.Fill([&] { return rng.Normal() * size; });
    dy.Fill([&] { return rng.Normal(); });
    dx.Fill([&] { return rng.Normal(); });  // the residual's gradient, to be added to
    for (float& g : gain) g = 1 + 0.3f * rng.Normal();
    for (float& g : dgain) g = rng.Normal();
  }
  void Run() {
    RmsNormForward(x, gain.data(), y, r.data());
    RmsNormBackward(dy, x, gain.data(), r.data(), dx, dgain.data());
  }
  void RunReference() {
    ref::RmsNormForward(x, gain.data(), y, r.data());
    ref::RmsNormBackward(dy, x, gain.data(), r.data(), dx, dgain.data());
  }
  bool SameAs(const Norm& other) const {
    return BitwiseEqual(y, other.y) && BitwiseEqual(dx, other.dx) && dgain == other.dgain && r == other.r;
  }

  OwnedTile x, y, dy, dx;
  std::vector<float> gain, dgain, r;
};

class RmsNormOf : public testing::TestWithParam<int> {};

TEST_P(RmsNormOf, HasTheReferencesBits) {
  for (const float size : {1.0f, 1e-6f, 1e6f}) {
    Norm fast(GetParam(), /*seed=*/1, size), plain(GetParam(), /*seed=*/1, size);
    fast.Run();
    plain.RunReference();
    EXPECT_TRUE(fast.SameAs(plain)) << "size " << size;
  }
}

TEST_P(RmsNormOf, HasTheSameBitsInAvx2) {
  Norm wide(GetParam(), /*seed=*/2), narrow(GetParam(), /*seed=*/2);
  wide.Run();
  const Avx2Only only;
  narrow.Run();
  EXPECT_TRUE(wide.SameAs(narrow));
}

TEST_P(RmsNormOf, MayWriteOverItsInput) {
  Norm apart(GetParam(), /*seed=*/3), in_place(GetParam(), /*seed=*/3);
  RmsNormForward(apart.x, apart.gain.data(), apart.y, apart.r.data());
  RmsNormForward(in_place.x, in_place.gain.data(), in_place.x, in_place.r.data());
  EXPECT_TRUE(BitwiseEqual(apart.y, in_place.x));
}

INSTANTIATE_TEST_SUITE_P(Channels, RmsNormOf, testing::Values(1, 2, 3, 4, 5, 7, 16, 63, 130, 1024));

TEST(RmsNorm, IsTheFormulaInDouble) {
  const int C = 257;
  Norm norm(C, /*seed=*/4);
  norm.Run();
  for (int t = 0; t < kTileTokens; ++t) {
    double sum = 0;
    for (int c = 0; c < C; ++c) sum += double{norm.x.at(c, t)} * norm.x.at(c, t);
    const double r = 1 / std::sqrt(sum / C + FLT_EPSILON);
    ASSERT_NEAR(norm.r[t], r, 1e-6 * r);
    for (int c = 0; c < C; ++c) {
      const double y = norm.x.at(c, t) * r * norm.gain[c];
      ASSERT_NEAR(norm.y.at(c, t), y, 1e-6 * std::abs(y));
    }
  }
}

TEST(RmsNorm, GradientIsTheSlope) {
  const int C = 6;
  const size_t n = size_t{C} * kTileTokens;
  Rng rng(/*seed=*/5);
  std::vector<double> x(n), dy(n), gain(C), y(n), r(kTileTokens), dx(n, 0.0), dgain(C, 0.0);
  for (double& v : x) v = rng.Normal();
  for (double& v : dy) v = rng.Normal();
  for (double& v : gain) v = 1 + 0.3 * rng.Normal();
  const auto loss = [&] {
    ref::RmsNormForwardIn(x.data(), C, gain.data(), y.data(), r.data());
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += y[i] * dy[i];
    return sum;
  };
  loss();
  ref::RmsNormBackwardIn(dy.data(), x.data(), C, gain.data(), r.data(), dx.data(), dgain.data());
  EXPECT_LT(GradientError(x, dx, loss), 1e-8);
  EXPECT_LT(GradientError(gain, dgain, loss), 1e-8);
}

TEST(RmsNorm, OfZerosIsZeroWithTheLargestFactor) {
  Norm norm(9, /*seed=*/6, /*size=*/0);
  norm.Run();
  for (int t = 0; t < kTileTokens; ++t) {
    EXPECT_EQ(norm.r[t], 1 / std::sqrt(FLT_EPSILON));
    for (int c = 0; c < 9; ++c) EXPECT_EQ(norm.y.at(c, t), 0.0f);
  }
}

TEST(RmsNorm, ANanStaysInItsToken) {
  Norm norm(20, /*seed=*/7);
  norm.x.at(3, 11) = std::nanf("");
  norm.Run();
  for (int t = 0; t < kTileTokens; ++t) {
    for (int c = 0; c < 20; ++c) {
      EXPECT_EQ(std::isnan(norm.y.at(c, t)), t == 11);
      EXPECT_EQ(std::isnan(norm.dx.at(c, t)), t == 11);
    }
  }
}

TEST(RmsNormDeathTest, RefusesDifferentChannels) {
  Norm norm(4, /*seed=*/8);
  OwnedTile other(5);
  EXPECT_DEATH(RmsNormForward(norm.x, norm.gain.data(), other, norm.r.data()), "x has 4 channels, y 5");
}

}  // namespace
}  // namespace filigree::kernels
