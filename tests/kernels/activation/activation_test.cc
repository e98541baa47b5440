#include "kernels/activation/activation.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/activation/activation_ref.h"
#include "tests/support/avx2_only.h"
#include "tests/support/fingerprint.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiles.h"
#include "tests/support/ulps.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::Fingerprint;
using testing_support::NumericDerivative;
using testing_support::OwnedTile;
using testing_support::Rng;
using testing_support::UlpsOff;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Activation kBoth[] = {Activation::kGelu, Activation::kRelu};
constexpr int kChannels[] = {1, 2, 5, 67};

// Tiles full of floats of [-9, 9] that differ in their bits by a constant step, so that all sizes occur.
template <typename Visit>
void ForFloatsUpToNine(Visit visit) {
  constexpr uint32_t kStep = 1013, kNine = 0x41100000;
  OwnedTile x(512);
  for (uint32_t bits = 0; bits <= kNine;) {
    for (int c = 0; c < 512; ++c) {
      for (int t = 0; t < kTileTokens; t += 2) {
        float value;
        std::memcpy(&value, &bits, sizeof(value));
        x.at(c, t) = std::min(value, 9.0f);
        x.at(c, t + 1) = -x.at(c, t);
        bits += kStep;
      }
    }
    visit(x);
  }
}

TEST(Gelu, HasARelativeErrorBelowOneMillionth) {
  double worst = 0;
  OwnedTile y(512);
  ForFloatsUpToNine([&](const OwnedTile& x) {
    ActivationForward(Activation::kGelu, x, y);
    for (size_t i = 0; i < x.tile().size(); ++i) {
      const double truth = ref::Gelu(x.tile().data[i]), got = y.tile().data[i];
      // Where the result is subnormal, digits are lost whatever is done.
      if (std::abs(truth) < std::numeric_limits<float>::min()) {
        ASSERT_NEAR(got, truth, std::numeric_limits<float>::min() * 1e-6);
      } else {
        worst = std::max(worst, std::abs(got - truth) / std::abs(truth));
      }
    }
  });
  EXPECT_LT(worst, 1e-6);
  EXPECT_GT(worst, 3e-8) << "no rounding is that good: the test is blind";
}

// Floats of both signs up to 6, a tile at a time, from where GELU is x / 2 to all digits.
TEST(Gelu, IsRoundedOnceWhereSelectionsCompareIt) {
  constexpr uint32_t kFirst = 0x33000000, kSix = 0x40c00000, kStep = 31;
  double worst = 0, worst_left = 0;
  OwnedTile x(512), y(512), narrow(512);
  for (uint32_t bits = kFirst; bits < kSix;) {
    x.Fill([&] {
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      bits = std::min(bits + kStep, kSix);
      return bits / 2 % 2 == 0 ? value : -value;
    });
    ActivationForward(Activation::kGelu, x, y);
    for (size_t i = 0; i < x.tile().size(); ++i) {
      double& bin = x.tile().data[i] < -3 ? worst_left : worst;
      bin = std::max(bin, UlpsOff(y.tile().data[i], ref::Gelu(x.tile().data[i])));
    }
    const Avx2Only only;
    ActivationForward(Activation::kGelu, x, narrow);
    ASSERT_TRUE(BitwiseEqual(y, narrow));
  }
  EXPECT_LT(worst, 0.502);
  EXPECT_LT(worst_left, 0.51);
  EXPECT_GT(std::min(worst, worst_left), 0.49) << "no rounding is that good: the test is blind";
}

// Far values take another way, and take nobody along.
TEST(Gelu, DoesNotDependOnItsNeighbours) {
  OwnedTile x(1), y(1), mixed(1), y_mixed(1);
  Rng rng(/*seed=*/4);
  x.Fill([&] { return 2 * rng.Normal(); });
  ActivationForward(Activation::kGelu, x, y);
  for (const float far : {-7.0f, 7.0f, kInfinity, std::nanf("")}) {
    for (int first = 0; first < 2; ++first) {
      for (int t = 0; t < kTileTokens; ++t) mixed.at(0, t) = t % 2 == first ? far : x.at(0, t);
      ActivationForward(Activation::kGelu, mixed, y_mixed);
      for (int t = 1 - first; t < kTileTokens; t += 2)
        ASSERT_EQ(y_mixed.at(0, t), y.at(0, t)) << t << " beside " << far;
    }
  }
}

TEST(Gelu, HasADerivativeWithAnErrorBelowAFifthOfAMillionth) {
  double worst = 0;
  OwnedTile dx(512), ones(512);
  ones.Fill([] { return 1.0f; });
  ForFloatsUpToNine([&](const OwnedTile& x) {
    ActivationBackward(Activation::kGelu, ones, nullptr, x, dx);
    for (size_t i = 0; i < x.tile().size(); ++i) {
      worst = std::max(worst, std::abs(dx.tile().data[i] - ref::GeluDerivative(x.tile().data[i])));
    }
  });
  EXPECT_LT(worst, 2e-7);
  EXPECT_GT(worst, 1e-9) << "no rounding is that good: the test is blind";
}

// The derivatives of the reference against its functions.
TEST(ActivationReference, DerivativeIsTheSlope) {
  for (int i = 0; i <= 120; ++i) {
    double x = -6.05 + 0.1 * i;
    EXPECT_NEAR(NumericDerivative(x, [&] { return ref::Gelu(x); }), ref::GeluDerivative(x), 1e-9) << x;
    EXPECT_NEAR(NumericDerivative(x, [&] { return ref::Relu(x); }), ref::ReluDerivative(x), 1e-9) << x;
  }
  EXPECT_EQ(ref::ReluDerivative(0), 0);
}

TEST(ActivationReference, IsTheErfForm) {
  for (int i = -20; i < 20; ++i) {
    const double x = 0.25 * i;
    EXPECT_NEAR(ref::Gelu(x), x / 2 * (1 + std::erf(x / std::sqrt(2.0))), 1e-15);
  }
  EXPECT_NEAR(ref::Gelu(1), 0.841344746068543, 1e-15);
}

struct Drawn {
  explicit Drawn(int channels, uint64_t seed) : x(channels), dy(channels), kept(channels) {
    Rng rng(seed);
    x.Fill([&] { return 3 * rng.Normal(); });
    dy.Fill([&] { return rng.Normal(); });
    for (uint64_t& word : kept) word = rng.Below(5) == 0 ? 0 : rng.Below(uint64_t{1} << 31) << 32 | rng.Below(1u << 31);
  }
  OwnedTile x, dy;
  std::vector<uint64_t> kept;
};

TEST(Activation, FollowsTheReferenceAtOddSizes) {
  for (const Activation kind : kBoth) {
    for (const int channels : kChannels) {
      const Drawn in(channels, /*seed=*/1);
      OwnedTile y(channels), y_ref(channels), dx(channels), dx_ref(channels);
      ActivationForward(kind, in.x, y);
      ref::ActivationForward(kind, in.x, y_ref);
      for (const uint64_t* kept : {static_cast<const uint64_t*>(nullptr), in.kept.data()}) {
        ActivationBackward(kind, in.dy, kept, in.x, dx);
        ref::ActivationBackward(kind, in.dy, kept, in.x, dx_ref);
        for (int c = 0; c < channels; ++c) {
          for (int t = 0; t < kTileTokens; ++t) {
            const double bound = kind == Activation::kRelu ? 0 : 1e-6;  // copies are exact
            ASSERT_NEAR(y.at(c, t), y_ref.at(c, t), bound * std::abs(y_ref.at(c, t)));
            ASSERT_NEAR(dx.at(c, t), dx_ref.at(c, t), bound * std::abs(in.dy.at(c, t)));
            const bool dropped = kept != nullptr && (kept[c] >> t & 1) == 0;
            ASSERT_TRUE(!dropped || dx.at(c, t) == 0.0f);
          }
        }
      }
    }
  }
}

TEST(Activation, HasTheRecordedBits) {
  Rng rng(/*seed=*/5);
  OwnedTile x(67), dy(67), out(67);
  x.Fill([&] { return static_cast<float>(16 * rng.Uniform() - 8); });
  dy.Fill([&] { return static_cast<float>(2 * rng.Uniform() - 1); });
  const auto bits = [&] { return Fingerprint(std::span<const float>(out.tile().data, out.tile().size())); };
  ActivationForward(Activation::kGelu, x, out);
  EXPECT_EQ(bits(), 6337177467724552133u);
  ActivationBackward(Activation::kGelu, dy, nullptr, x, out);
  EXPECT_EQ(bits(), 12228691442607554062u);
}

TEST(Activation, HasTheSameBitsInAvx2AndInPlace) {
  for (const Activation kind : kBoth) {
    for (const int channels : kChannels) {
      Drawn in(channels, /*seed=*/2);
      OwnedTile y(channels), dx(channels), y2(channels), dx2(channels);
      ActivationForward(kind, in.x, y);
      ActivationBackward(kind, in.dy, in.kept.data(), in.x, dx);
      {
        const Avx2Only only;
        ActivationForward(kind, in.x, y2);
        ActivationBackward(kind, in.dy, in.kept.data(), in.x, dx2);
      }
      EXPECT_TRUE(BitwiseEqual(y, y2));
      EXPECT_TRUE(BitwiseEqual(dx, dx2));
      ActivationBackward(kind, in.dy, in.kept.data(), in.x, in.dy);
      ActivationForward(kind, in.x, in.x);
      EXPECT_TRUE(BitwiseEqual(y, in.x));
      EXPECT_TRUE(BitwiseEqual(dx, in.dy));
    }
  }
}

// x, then what GELU, GELU', ReLU and ReLU' make of it.
struct Edge {
  float x, gelu, gelu_slope, relu, relu_slope;
};
const float kNan = std::nanf("");
const Edge kEdges[] = {{kInfinity, kInfinity, 1, kInfinity, 1},
                       {-kInfinity, 0, 0, 0, 0},
                       {0, 0, 0.5f, 0, 0},
                       {-0.0f, 0, 0.5f, 0, 0},
                       {1e30f, 1e30f, 1, 1e30f, 1},
                       {-1e30f, 0, 0, 0, 0},
                       {-20, 0, 0, 0, 0},
                       {kNan, kNan, kNan, kNan, 0}};

void ExpectSame(float got, float expected, float x) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got)) << "at " << x;
  } else {
    EXPECT_EQ(got, expected) << "at " << x;
  }
}

TEST(Activation, KnowsItsEdges) {
  OwnedTile x(1), y(1), ones(1), dx(1);
  ones.Fill([] { return 1.0f; });
  for (const Edge& e : kEdges) {
    x.Fill([&] { return e.x; });
    const auto check = [&](Activation kind, float value, float slope, auto forward, auto backward) {
      forward(kind, x, y);
      backward(kind, ones, nullptr, x, dx);
      ExpectSame(y.at(0, 5), value, e.x);
      ExpectSame(dx.at(0, 5), slope, e.x);
    };
    check(Activation::kGelu, e.gelu, e.gelu_slope, ActivationForward, ActivationBackward);
    check(Activation::kRelu, e.relu, e.relu_slope, ActivationForward, ActivationBackward);
    check(Activation::kRelu, e.relu, e.relu_slope, ref::ActivationForward, ref::ActivationBackward);
    if (e.x != -20) check(Activation::kGelu, e.gelu, e.gelu_slope, ref::ActivationForward, ref::ActivationBackward);
  }
}

// Where the slope is 0 no gradient passes, not even an infinite one.
TEST(Activation, ReluStopsAnInfiniteGradient) {
  OwnedTile x(1), dy(1), dx(1), dx_ref(1);
  x.Fill([] { return -1.0f; });
  dy.Fill([] { return kInfinity; });
  ActivationBackward(Activation::kRelu, dy, nullptr, x, dx);
  ref::ActivationBackward(Activation::kRelu, dy, nullptr, x, dx_ref);
  EXPECT_EQ(dx.at(0, 0), 0.0f);
  EXPECT_EQ(dx_ref.at(0, 0), 0.0f);
}

TEST(Accumulate, Adds) {
  for (const int channels : kChannels) {
    const Drawn in(channels, /*seed=*/3);
    OwnedTile fast(channels), plain(channels), narrow(channels);
    for (OwnedTile* y : {&fast, &plain, &narrow})
      std::memcpy(y->tile().data, in.dy.tile().data, in.dy.tile().size() * 4);
    Accumulate(in.x, fast);
    ref::Accumulate(in.x, plain);
    EXPECT_TRUE(BitwiseEqual(fast, plain));
    EXPECT_EQ(fast.at(channels - 1, 63), in.x.at(channels - 1, 63) + in.dy.at(channels - 1, 63));
    const Avx2Only only;
    Accumulate(in.x, narrow);
    EXPECT_TRUE(BitwiseEqual(fast, narrow));
  }
}

}  // namespace
}  // namespace filigree::kernels
