#include "kernels/spmm/spmm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/simd.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

struct Case {
  int rows, cols;
  double density;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.rows << " x " << c.cols << " at " << c.density; }

// Empty rows, full rows.
const Case kCases[] = {{1, 1, 1},      {1, 1, 0},      {67, 33, 0.2}, {67, 33, 1},     {67, 33, 0},
                       {3, 999, 0.02}, {500, 3, 0.05}, {5, 6000, 1},  {70, 5000, 0.1}, {40, 2048, 0.3}};

struct Problem {
  Problem(const Case& c, uint64_t seed) : w(c.rows * c.cols), bias(c.rows), x(c.cols) {
    Rng rng(seed);
    Buffer<uint64_t> kept((w.size() + 63) / 64);
    for (size_t i = 0; i < w.size(); ++i) {
      if (!(rng.Uniform() < c.density)) continue;
      w[i] = rng.Normal();
      kept[i / 64] |= uint64_t{1} << i % 64;
    }
    for (float& v : bias) v = rng.Normal();
    x.Fill([&] { return rng.Normal(); });
    ThreadPool pool(1);
    csr.BuildFromDense(w.data(), kept.data(), c.rows, c.cols, pool);
  }

  Buffer<float> w;
  std::vector<float> bias;
  OwnedTile x;
  Csr csr;
};

class SpmmTest : public testing::TestWithParam<Case> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }

  const Case c_ = GetParam();
  const Problem p_{c_, 101};
};

TEST_P(SpmmTest, ReferenceIsWithinRoundingOfDouble) {
  OwnedTile y(c_.rows);
  ref::Spmm(p_.csr.view(), p_.x, p_.bias.data(), y);
  for (int r = 0; r < c_.rows; ++r) {
    const uint32_t* offsets = p_.csr.view().row_offsets;
    const double roundings = offsets[r + 1] - offsets[r];
    for (int t = 0; t < kTileTokens; ++t) {
      double sum = p_.bias[r], magnitude = std::abs(sum);
      for (int c = 0; c < c_.cols; ++c) {
        const double product = double{p_.w[r * c_.cols + c]} * double{p_.x.at(c, t)};
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(y.at(r, t), sum, 1.01 * std::ldexp(1.0, -24) * roundings * magnitude) << r << ", " << t;
    }
  }
}

TEST_P(SpmmTest, BothTargetsHaveTheBitsOfTheReference) {
  for (const float* bias : {p_.bias.data(), static_cast<const float*>(nullptr)}) {
    OwnedTile expected(c_.rows);
    ref::Spmm(p_.csr.view(), p_.x, bias, expected);
    for (const bool avx2 : {false, true}) {
      RestrictSimdToAvx2(avx2);
      OwnedTile y(c_.rows);
      y.Fill([] { return NAN; });
      Spmm(p_.csr.view(), p_.x, bias, y);
      EXPECT_TRUE(BitwiseEqual(y, expected)) << SimdTargetName();
    }
  }
}

TEST_P(SpmmTest, XAsBf16HasTheBitsOfXWidened) {
  Problem p(c_, 101);
  Buffer<uint32_t> words(static_cast<size_t>(c_.cols) * kBf16RowWords);
  const Bf16Tile x{words.data(), c_.cols};
  ref::RoundToBf16(p.x, x);
  OwnedTile expected(c_.rows), y(c_.rows);
  ref::Spmm(p.csr.view(), p.x, p.bias.data(), expected);
  ref::Spmm(p.csr.view(), x, p.bias.data(), y);
  EXPECT_TRUE(BitwiseEqual(y, expected)) << "reference";
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    y.Fill([] { return NAN; });
    Spmm(p.csr.view(), x, p.bias.data(), y);
    EXPECT_TRUE(BitwiseEqual(y, expected)) << SimdTargetName();
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SpmmTest, testing::ValuesIn(kCases));

// <dy, W x> = <W^T dy, x>: the input gradient is the product with the transpose.
TEST(SpmmGradientTest, TransposeIsTheAdjoint) {
  const Case c{70, 90, 0.2};
  Problem p(c, 111);
  ThreadPool pool(2);
  Csr transpose;
  transpose.BuildTranspose(p.csr.view(), pool);
  Rng rng(112);
  OwnedTile dy(c.rows), y(c.rows), dx(c.cols);
  dy.Fill([&] { return rng.Normal(); });
  Spmm(p.csr.view(), p.x, nullptr, y);
  Spmm(transpose.view(), dy, nullptr, dx);
  double forward = 0, backward = 0, magnitude = 0;
  for (int t = 0; t < kTileTokens; ++t) {
    for (int r = 0; r < c.rows; ++r) forward += double{dy.at(r, t)} * double{y.at(r, t)};
    for (int i = 0; i < c.cols; ++i) {
      backward += double{dx.at(i, t)} * double{p.x.at(i, t)};
      magnitude += std::abs(double{dx.at(i, t)} * double{p.x.at(i, t)});
    }
  }
  EXPECT_NEAR(forward, backward, 90 * std::ldexp(1.0, -24) * magnitude);
}

TEST(SpmmDeathTest, RefusesTilesOfOtherShapes) {
  const Problem p({4, 5, 1}, 121);
  OwnedTile y(3);
  EXPECT_DEATH(Spmm(p.csr.view(), p.x, nullptr, y), "w is 4 x 5");
}

}  // namespace
}  // namespace filigree::kernels
