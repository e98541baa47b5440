#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "tests/support/avx2_only.h"
#include "tests/support/fingerprint.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::Fingerprint;
using testing_support::GradientError;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr float kScale = 0.013f;
constexpr double kHalfUlp = 0x1p-24;

struct Drawn {
  Drawn(int vocab, uint64_t seed, float size) : logits(vocab), gradient(vocab) {
    Rng rng(seed);
    logits.Fill([&] { return rng.Normal() * size; });
    for (int32_t& t : target) t = rng.Below(8) == 0 ? -1 : static_cast<int32_t>(rng.Below(vocab));
    std::memcpy(gradient.tile().data, logits.tile().data, logits.tile().size() * sizeof(float));
  }
  void Run() { CrossEntropyGradient(gradient, target.data(), kScale, loss.data()); }

  OwnedTile logits, gradient;
  std::array<int32_t, kTileTokens> target;
  std::array<float, kTileTokens> loss = {};
};

// The largest logit and the sum of exp(logit - max) of a token, in double.
struct Column {
  double max = -std::numeric_limits<double>::infinity(), sum = 0;

  Column(const OwnedTile& logits, int t) {
    const int vocab = logits.tile().channels;
    for (int c = 0; c < vocab; ++c) max = std::max<double>(max, logits.at(c, t));
    for (int c = 0; c < vocab; ++c) sum += std::exp(logits.at(c, t) - max);
  }
  double Softmax(double logit) const { return std::exp(logit - max) / sum; }
};

// What the contract grants an entry: its distance from the maximum may be off by half an ulp; an ulp each for the
// exponential, 1 / sum and the two products, and 16 additions in fp32.
double Granted(double softmax, double below_max) {
  return softmax * (std::abs(below_max) + 24) * kHalfUlp + std::exp(-87.0);
}

// What was computed of a token is the definition, within what the contract grants and roundings that come on top.
void ExpectDefinition(const Drawn& in, int t, int more_roundings) {
  const Column column(in.logits, t);
  const int target = in.target[t];
  const double target_logit = target < 0 ? 0.0 : in.logits.at(target, t);
  const double loss = target < 0 ? 0 : std::log(column.sum) + column.max - target_logit;
  const double logits = std::abs(column.max) + std::abs(target_logit);
  EXPECT_NEAR(in.loss[t], loss, kHalfUlp * (std::abs(loss) + 24 + more_roundings + logits)) << t;
  for (int c = 0; c < in.logits.tile().channels; ++c) {
    const double softmax = column.Softmax(in.logits.at(c, t));
    const double gradient = target < 0 ? 0 : kScale * (softmax - (c == target ? 1 : 0));
    const double granted = Granted(softmax, in.logits.at(c, t) - column.max) + softmax * 2 * more_roundings * kHalfUlp;
    const double bound = target < 0 ? 0 : kScale * granted + std::abs(gradient) * kHalfUlp;
    ASSERT_NEAR(in.gradient.at(c, t), gradient, bound) << c << ", " << t;
  }
}

class CrossEntropyOf : public testing::TestWithParam<int> {};

TEST_P(CrossEntropyOf, IsTheDefinitionWithinItsBounds) {
  const int vocab = GetParam();
  for (const float size : {0.01f, 1.0f, 30.0f}) {
    Drawn in(vocab, /*seed=*/1, size);
    in.Run();
    for (int t = 0; t < kTileTokens; ++t) ExpectDefinition(in, t, /*more_roundings=*/0);
  }
}

TEST_P(CrossEntropyOf, FollowsTheReference) {
  Drawn fast(GetParam(), /*seed=*/2, 2), plain(GetParam(), /*seed=*/2, 2);
  fast.Run();
  ref::CrossEntropyGradient(plain.gradient, plain.target.data(), kScale, plain.loss.data());
  for (int t = 0; t < kTileTokens; ++t) {
    ASSERT_NEAR(fast.loss[t], plain.loss[t], 1e-6 * (1 + plain.loss[t]));
    for (int c = 0; c < GetParam(); ++c) {
      ASSERT_NEAR(fast.gradient.at(c, t), plain.gradient.at(c, t), kScale * 1e-6) << c << ", " << t;
    }
  }
}

TEST_P(CrossEntropyOf, HasTheSameBitsInAvx2) {
  Drawn wide(GetParam(), /*seed=*/3, 2), narrow(GetParam(), /*seed=*/3, 2);
  wide.Run();
  const Avx2Only only;
  narrow.Run();
  EXPECT_TRUE(BitwiseEqual(wide.gradient, narrow.gradient));
  EXPECT_EQ(wide.loss, narrow.loss);
}

TEST_P(CrossEntropyOf, LossAloneIsTheSameAndLeavesLogits) {
  Drawn in(GetParam(), /*seed=*/4, 2);
  std::array<float, kTileTokens> loss = {};
  CrossEntropyLoss(in.logits, in.target.data(), loss.data());
  EXPECT_TRUE(BitwiseEqual(in.logits, in.gradient)) << "logits were written";
  in.Run();
  EXPECT_EQ(loss, in.loss);
}

// The vocabulary in `groups` nearly equal groups.
struct Grouped {
  Grouped(Drawn& in, int groups) : parts(groups) {
    const int vocab = in.gradient.tile().channels;
    const auto first = [&](int g) { return vocab * g / groups; };
    const auto tile = [&](int g) { return in.gradient.tile().rows(first(g), first(g + 1) - first(g)); };
    std::vector<const SoftmaxPart*> pointers;
    for (int g = 0; g < groups; ++g) {
      SoftmaxPart untouched;
      SoftmaxPartOf(tile(g), in.target.data(), first(g), untouched);
      SoftmaxPartInPlace(tile(g), in.target.data(), first(g), parts[g]);
      EXPECT_TRUE(std::equal(untouched.max, untouched.max + kTileTokens, parts[g].max)) << g;
      EXPECT_TRUE(std::equal(untouched.sum, untouched.sum + kTileTokens, parts[g].sum)) << g;
      EXPECT_TRUE(std::equal(untouched.target_logit, untouched.target_logit + kTileTokens, parts[g].target_logit)) << g;
      pointers.push_back(&parts[g]);
    }
    CombineSoftmax(pointers, in.target.data(), whole, in.loss.data());
    for (int g = 0; g < groups; ++g) SoftmaxGradient(parts[g], whole, in.target.data(), first(g), kScale, tile(g));
  }
  std::vector<SoftmaxPart> parts;
  SoftmaxWhole whole;
};

TEST_P(CrossEntropyOf, InGroupsFollowsTheReference) {
  for (const float size : {0.01f, 2.0f, 30.0f}) {
    for (const int groups : {1, 2, 3, 4, 7}) {
      if (groups > GetParam()) continue;
      Drawn parted(GetParam(), /*seed=*/12, size);
      const Grouped run(parted, groups);
      for (int t = 0; t < kTileTokens; ++t) ExpectDefinition(parted, t, /*more_roundings=*/2);
      if (groups > 1) continue;
      Drawn whole(GetParam(), /*seed=*/12, size);
      whole.Run();
      EXPECT_TRUE(BitwiseEqual(parted.gradient, whole.gradient));
      EXPECT_EQ(parted.loss, whole.loss);
    }
  }
}

TEST(CrossEntropy, HasTheRecordedBits) {
  Drawn whole(101, /*seed=*/3, 2), parted(101, /*seed=*/3, 2);
  whole.Run();
  const Grouped run(parted, 3);
  uint64_t bits = 0;
  for (Drawn* in : {&whole, &parted}) {
    bits = Fingerprint(std::span<const float>(in->gradient.tile().data, in->gradient.tile().size()), bits);
    bits = Fingerprint(in->loss, bits);
  }
  EXPECT_EQ(bits, 5069562831203291929u);
}

TEST_P(CrossEntropyOf, InGroupsHasTheSameBitsInAvx2) {
  const int groups = std::min(3, GetParam());
  Drawn wide(GetParam(), /*seed=*/13, 2), narrow(GetParam(), /*seed=*/13, 2);
  const Grouped run(wide, groups);
  const Avx2Only only;
  const Grouped again(narrow, groups);
  EXPECT_TRUE(BitwiseEqual(wide.gradient, narrow.gradient));
  EXPECT_EQ(wide.loss, narrow.loss);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, CrossEntropyOf, testing::Values(1, 2, 15, 16, 17, 33, 101, 2048));

TEST(CrossEntropy, GradientIsTheSlope) {
  const int vocab = 7;
  Rng rng(/*seed=*/5);
  std::vector<double> x(size_t{vocab} * kTileTokens), loss(kTileTokens);
  for (double& v : x) v = 2 * rng.Normal();
  std::array<int32_t, kTileTokens> target;
  for (int t = 0; t < kTileTokens; ++t) target[t] = t % (vocab + 1) - 1;  // -1 too
  const double scale = 0.3;
  std::vector<double> gradient = x;
  ref::CrossEntropyGradientIn(gradient.data(), vocab, target.data(), scale, loss.data());
  const double error = GradientError(x, gradient, [&] {
    ref::CrossEntropyLossIn(x.data(), vocab, target.data(), loss.data());
    double sum = 0;
    for (const double l : loss) sum += l;
    return scale * sum;
  });
  EXPECT_LT(error, 1e-9);
}

TEST(CrossEntropy, OfOneWordIsZero) {
  Drawn in(1, /*seed=*/6, 100);
  in.Run();
  for (int t = 0; t < kTileTokens; ++t) {
    EXPECT_EQ(in.loss[t], 0.0f);
    EXPECT_EQ(in.gradient.at(0, t), 0.0f);
  }
}

TEST(CrossEntropy, StaysStableForAnyFiniteLogits) {
  Drawn in(20, /*seed=*/7, 1e30f);
  in.Run();
  for (int t = 0; t < kTileTokens; ++t) {
    EXPECT_TRUE(std::isfinite(in.loss[t]));
    EXPECT_GE(in.loss[t], 0.0f);
    for (int c = 0; c < 20; ++c) ASSERT_TRUE(std::isfinite(in.gradient.at(c, t)));
  }
}

// Near certainty the sum is one and a little, of which fp32 keeps what the contract says.
TEST(CrossEntropy, ASmallGradientErrsAsTheSumDoes) {
  Drawn in(2, /*seed=*/8, 1);
  for (int t = 0; t < kTileTokens; ++t) {
    in.gradient.at(0, t) = 12;
    in.gradient.at(1, t) = 0;
    in.target[t] = 0;
  }
  in.Run();
  const double truth = -kScale * std::exp(-12.0) / (1 + std::exp(-12.0));
  EXPECT_NEAR(in.gradient.at(0, 0), truth, kScale * 16 * kHalfUlp);
  EXPECT_NEAR(in.gradient.at(1, 0), -truth, kScale * Granted(std::exp(-12.0), -12));
}

TEST(CrossEntropy, ANanOrInfinityMakesItsTokensLossNan) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), inf}) {
    for (const int channel : {0, 7, 18}) {
      Drawn in(19, /*seed=*/9, 1);
      for (int32_t& t : in.target) t = 3;
      in.gradient.at(channel, 10) = bad;
      in.Run();
      for (int t = 0; t < kTileTokens; ++t) EXPECT_EQ(std::isnan(in.loss[t]), t == 10) << bad << " in " << channel;
    }
  }
}

TEST(CrossEntropy, MinusInfinityIsAProbabilityOfZero) {
  const float inf = std::numeric_limits<float>::infinity();
  Drawn in(19, /*seed=*/10, 1);
  for (int32_t& t : in.target) t = 3;
  in.gradient.at(5, 10) = -inf;
  in.gradient.at(3, 11) = -inf;
  in.Run();
  EXPECT_TRUE(std::isfinite(in.loss[10]));
  EXPECT_EQ(in.gradient.at(5, 10), 0.0f);
  EXPECT_EQ(in.loss[11], inf);
}

TEST(CrossEntropy, AGroupMayBeAllMinusInfinity) {
  Drawn in(6, /*seed=*/14, 1);
  for (int32_t& t : in.target) t = 4;
  for (int c = 0; c < 3; ++c) in.gradient.at(c, 10) = -std::numeric_limits<float>::infinity();
  const Grouped run(in, 2);
  EXPECT_TRUE(std::isfinite(in.loss[10]));
  for (int c = 0; c < 3; ++c) EXPECT_EQ(in.gradient.at(c, 10), 0.0f);
}

TEST(CrossEntropyDeathTest, RefusesATargetOutsideTheVocabulary) {
  Drawn in(5, /*seed=*/11, 1);
  in.target[63] = 5;
  EXPECT_DEATH(in.Run(), "target 5 of a vocabulary of 5");
  EXPECT_DEATH(CrossEntropyLoss(in.logits, in.target.data(), in.loss.data()), "target 5 of a vocabulary of 5");
}

}  // namespace
}  // namespace filigree::kernels
