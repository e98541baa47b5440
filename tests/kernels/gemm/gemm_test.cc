#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/simd.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

struct Shape {
  int out, in;
};

void PrintTo(const Shape& s, std::ostream* os) { *os << s.out << " x " << s.in; }

// Rows and columns that leave every remainder of the blocks of 3, 6, 48, 64 and 384.
const Shape kShapes[] = {{1, 1},     {67, 33},  {33, 67},  {6, 64},    {64, 48}, {65, 49}, {5, 129},
                         {128, 192}, {200, 96}, {97, 101}, {130, 260}, {2, 47},  {70, 433}};

struct Problem {
  Problem(Shape s, uint64_t seed) : shape(s), w(static_cast<size_t>(s.out) * s.in), bias(s.out), x(s.in), dy(s.out) {
    Rng rng(seed);
    for (float& v : w) v = rng.Normal();
    for (float& v : bias) v = rng.Normal();
    x.Fill([&] { return rng.Normal(); });
    dy.Fill([&] { return rng.Normal(); });
  }

  Shape shape;
  Buffer<float> w;
  std::vector<float> bias;
  OwnedTile x, dy;
};

// What a result begins with: it must not matter.
OwnedTile Garbage(int channels) {
  OwnedTile tile(channels);
  tile.Fill([] { return NAN; });
  return tile;
}

OwnedTile Copy(const OwnedTile& from) {
  OwnedTile tile(from.tile().channels);
  std::copy_n(from.tile().data, from.tile().size(), tile.tile().data);
  return tile;
}

// sum + terms in blocks of kGemmDepth: at most depth roundings inside a block, one a block after it.
double Bound(int terms, double magnitude) {
  const int roundings = kGemmDepth + (terms + kGemmDepth - 1) / kGemmDepth;
  return 1.01 * std::ldexp(1.0, -24) * roundings * magnitude;
}

class GemmTest : public testing::TestWithParam<Shape> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }

  const Shape s_ = GetParam();
  const Problem p_{s_, 41};
};

TEST_P(GemmTest, ForwardIsWithinRoundingOfDouble) {
  OwnedTile y = Garbage(s_.out);
  GemmForward(p_.w.data(), s_.out, s_.in, p_.x, p_.bias.data(), y);
  for (int o = 0; o < s_.out; ++o) {
    for (int t = 0; t < kTileTokens; ++t) {
      double sum = p_.bias[o], magnitude = std::abs(sum);
      for (int i = 0; i < s_.in; ++i) {
        const double product = double{p_.w[o * s_.in + i]} * double{p_.x.at(i, t)};
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(y.at(o, t), sum, Bound(s_.in, magnitude)) << o << ", " << t;
    }
  }
}

TEST_P(GemmTest, BackwardIsWithinRoundingOfDouble) {
  OwnedTile dx = Garbage(s_.in);
  GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, dx);
  for (int i = 0; i < s_.in; ++i) {
    for (int t = 0; t < kTileTokens; ++t) {
      double sum = 0, magnitude = 0;
      for (int o = 0; o < s_.out; ++o) {
        const double product = double{p_.w[o * s_.in + i]} * double{p_.dy.at(o, t)};
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(dx.at(i, t), sum, Bound(s_.out, magnitude)) << i << ", " << t;
    }
  }
}

TEST_P(GemmTest, BothTargetsHaveTheBitsOfTheReference) {
  OwnedTile y(s_.out), unbiased(s_.out), dx(s_.in);
  ref::GemmForward(p_.w.data(), s_.out, s_.in, p_.x, p_.bias.data(), y);
  ref::GemmForward(p_.w.data(), s_.out, s_.in, p_.x, nullptr, unbiased);
  ref::GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, dx);
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    OwnedTile result = Garbage(s_.out), input_gradient = Garbage(s_.in);
    GemmForward(p_.w.data(), s_.out, s_.in, p_.x, p_.bias.data(), result);
    EXPECT_TRUE(BitwiseEqual(result, y)) << SimdTargetName();
    GemmForward(p_.w.data(), s_.out, s_.in, p_.x, nullptr, result);
    EXPECT_TRUE(BitwiseEqual(result, unbiased)) << SimdTargetName();
    GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, input_gradient);
    EXPECT_TRUE(BitwiseEqual(input_gradient, dx)) << SimdTargetName();
  }
}

// Some columns of a wider matrix; rows whose sum goes on where another one ended.
TEST_P(GemmTest, PartsOfSumsHaveTheBitsOfTheReference) {
  const int in = (s_.in + 1) / 2, first = s_.in - in;
  const ConstTile x = p_.x.tile().rows(first, in);
  OwnedTile y(s_.out), dx = Copy(p_.x);
  ref::GemmForward(p_.w.data() + first, s_.in, s_.out, in, x, p_.bias.data(), y);
  ref::GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, GemmWrite::kAdd, dx);
  for (int o = 0; o < s_.out; ++o) {
    double sum = p_.bias[o];
    for (int i = first; i < s_.in; ++i) sum += double{p_.w[o * s_.in + i]} * double{p_.x.at(i, 5)};
    ASSERT_NEAR(y.at(o, 5), sum, 1e-4) << o;
  }
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    OwnedTile result = Garbage(s_.out), input_gradient = Copy(p_.x);
    GemmForward(p_.w.data() + first, s_.in, s_.out, in, x, p_.bias.data(), result);
    EXPECT_TRUE(BitwiseEqual(result, y)) << SimdTargetName();
    GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, GemmWrite::kAdd, input_gradient);
    EXPECT_TRUE(BitwiseEqual(input_gradient, dx)) << SimdTargetName();
  }
  // A sum cut at a multiple of the blocks is the same sum.
  if (s_.out <= kGemmDepth) return;
  OwnedTile whole(s_.in), parts = Garbage(s_.in);
  GemmBackward(p_.w.data(), s_.out, s_.in, p_.dy, whole);
  GemmBackward(p_.w.data(), kGemmDepth, s_.in, p_.dy.tile().rows(0, kGemmDepth), GemmWrite::kOverwrite, parts);
  GemmBackward(p_.w.data() + int64_t{kGemmDepth} * s_.in, s_.out - kGemmDepth, s_.in,
               p_.dy.tile().rows(kGemmDepth, s_.out - kGemmDepth), GemmWrite::kAdd, parts);
  EXPECT_TRUE(BitwiseEqual(parts, whole));
}

INSTANTIATE_TEST_SUITE_P(Shapes, GemmTest, testing::ValuesIn(kShapes));

// Weights are a slice of the parameters' arena, at any float.
TEST(GemmAlignmentTest, WeightsMayBeginAnywhere) {
  constexpr int kOut = 70, kIn = 100;
  const Problem p({kOut, kIn}, 51);
  OwnedTile y(kOut), dx(kIn);
  GemmForward(p.w.data(), kOut, kIn, p.x, nullptr, y);
  GemmBackward(p.w.data(), kOut, kIn, p.dy, dx);
  for (int shift = 1; shift < 16; shift += 5) {
    std::vector<float> shifted(shift + p.w.size());
    std::copy(p.w.begin(), p.w.end(), shifted.begin() + shift);
    OwnedTile y2(kOut), dx2(kIn);
    GemmForward(shifted.data() + shift, kOut, kIn, p.x, nullptr, y2);
    GemmBackward(shifted.data() + shift, kOut, kIn, p.dy, dx2);
    EXPECT_TRUE(BitwiseEqual(y, y2) && BitwiseEqual(dx, dx2)) << "shifted by " << shift;
  }
}

TEST(GemmThreadsTest, CallsFromSeveralThreadsDoNotDisturbEachOther) {
  constexpr int kCalls = 16;
  const Problem p({100, 120}, 61);
  OwnedTile y(100);
  GemmForward(p.w.data(), 100, 120, p.x, p.bias.data(), y);
  ThreadPool pool(4);
  std::vector<OwnedTile> results;
  results.reserve(kCalls);
  for (int i = 0; i < kCalls; ++i) results.emplace_back(100);
  pool.Run(kCalls, [&](int64_t i, int) { GemmForward(p.w.data(), 100, 120, p.x, p.bias.data(), results[i]); });
  for (const OwnedTile& result : results) EXPECT_TRUE(BitwiseEqual(result, y));
}

}  // namespace
}  // namespace filigree::kernels
