#include "kernels/sddmm/sddmm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/base/simd.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::RelativeDistance;
using testing_support::Rng;

// Of dy and of x, one entry in so many is kept; 0: none, kDense: all, and no kept bits are given.
constexpr int kDense = -1;
struct Kept {
  int dy, x;
};

void PrintTo(const Kept& k, std::ostream* os) { *os << "kept 1 in " << k.dy << " of dy, 1 in " << k.x << " of x"; }

const Kept kKept[] = {{4, kDense}, {1, kDense}, {0, kDense}, {kDense, kDense}, {kDense, 4}, {4, 8}, {4, 2}, {1, 0}};

struct Shape {
  int out, in, tiles;
};

void PrintTo(const Shape& s, std::ostream* os) { *os << s.out << " x " << s.in << ", " << s.tiles << " tiles"; }

const Shape kShapes[] = {{1, 1, 1},    {67, 33, 2},  {3, 129, 1},   {5, 16, 3}, {64, 64, 2},
                         {6, 128, 16}, {513, 65, 1}, {130, 257, 3}, {2, 15, 0}};

// A random entry for every kept one, 0 elsewhere.
void Fill(Buffer<float>& values, Buffer<uint64_t>& kept, int one_in, Rng& rng) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (one_in == 0 || (one_in != kDense && rng.Below(one_in) != 0)) continue;
    values[i] = rng.Normal();
    kept[i / 64] |= uint64_t{1} << i % 64;
  }
}

// Tiles of dY and X of random numbers in buffers of exactly their size, so that a read past them is seen.
class Problem {
 public:
  Problem(Shape s, Kept kept, uint64_t seed)
      : shape_(s),
        dy_(s.tiles * s.out * kTileTokens),
        x_(s.tiles * s.in * kTileTokens),
        dy_kept_(s.tiles * s.out),
        x_kept_(s.tiles * s.in) {
    Rng rng(seed);
    Fill(x_, x_kept_, kept.x, rng);
    Fill(dy_, dy_kept_, kept.dy, rng);
    input_ = {.dy = dy_.data(),
              .dy_stride = static_cast<size_t>(s.out) * kTileTokens,
              .kept = kept.dy == kDense ? nullptr : dy_kept_.data(),
              .kept_stride = static_cast<size_t>(s.out),
              .x = x_.data(),
              .x_stride = static_cast<size_t>(s.in) * kTileTokens,
              .tiles = s.tiles,
              .out = s.out,
              .in = s.in,
              .x_kept = kept.x == kDense ? nullptr : x_kept_.data(),
              .x_kept_stride = static_cast<size_t>(s.in)};
  }

  const SddmmInput& input() const { return input_; }
  // Rounds x to bf16 and gives the problem with x in that form.
  SddmmInput RoundX() {
    x_bf16_ = Buffer<uint32_t>(x_.size() / 2);
    const int rows = shape_.tiles * shape_.in;
    ref::RoundToBf16({x_.data(), rows}, {x_bf16_.data(), rows});
    SddmmInput input = input_;
    input.x = nullptr;
    input.x_bf16 = x_bf16_.data();
    input.x_bf16_stride = static_cast<size_t>(shape_.in) * kBf16RowWords;
    return input;
  }
  size_t size() const { return static_cast<size_t>(shape_.out) * shape_.in; }

  // dw and, beside it, the sums of |dy x| that bound its error, in double.
  std::vector<double> Exact(std::vector<double>* magnitude) const {
    std::vector<double> dw(size());
    magnitude->assign(size(), 0);
    for (int n = 0; n < shape_.tiles; ++n) {
      for (int o = 0; o < shape_.out; ++o) {
        for (int i = 0; i < shape_.in; ++i) {
          for (int t = 0; t < kTileTokens; ++t) {
            const double product = double{dy_[(size_t{1} * n * shape_.out + o) * kTileTokens + t]} *
                                   double{x_[(size_t{1} * n * shape_.in + i) * kTileTokens + t]};
            dw[o * shape_.in + i] += product;
            (*magnitude)[o * shape_.in + i] += std::abs(product);
          }
        }
      }
    }
    return dw;
  }

 private:
  Shape shape_;
  Buffer<float> dy_, x_;
  Buffer<uint32_t> x_bf16_;
  Buffer<uint64_t> dy_kept_, x_kept_;
  SddmmInput input_;
};

// A gradient that begins with other numbers in it.
std::vector<float> Before(size_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> dw(n);
  for (float& x : dw) x = rng.Normal();
  return dw;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

class SddmmTest : public testing::TestWithParam<std::tuple<Shape, Kept, SddmmWrite>> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }

  const Shape shape_ = std::get<0>(GetParam());
  const SddmmWrite mode_ = std::get<2>(GetParam());
  const Problem problem_{shape_, std::get<1>(GetParam()), 11};
  const std::vector<float> before_ = Before(problem_.size(), 12);
  SddmmScratch scratch_;
};

TEST_P(SddmmTest, ReferenceIsWithinRoundingOfDouble) {
  std::vector<float> dw = before_;
  ref::DenseWeightGradient(problem_.input(), 0, shape_.out, mode_, dw.data(), scratch_);
  std::vector<double> magnitude;
  const std::vector<double> exact = problem_.Exact(&magnitude);
  const double unit = std::ldexp(1.0, -24);
  for (size_t i = 0; i < dw.size(); ++i) {
    const double start = mode_ == SddmmWrite::kAdd ? before_[i] : 0.0;
    // n fused multiply-adds and the last addition: (n + 1) u times the sum of magnitudes, to first order.
    const double bound = 1.01 * unit * (shape_.tiles * kTileTokens + 1) * (magnitude[i] + std::abs(start));
    ASSERT_NEAR(dw[i], exact[i] + start, bound) << "entry " << i;
  }
}

TEST_P(SddmmTest, BothTargetsHaveTheBitsOfTheReference) {
  std::vector<float> expected = before_;
  ref::DenseWeightGradient(problem_.input(), 0, shape_.out, mode_, expected.data(), scratch_);
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    std::vector<float> dw = before_;
    DenseWeightGradient(problem_.input(), 0, shape_.out, mode_, dw.data(), scratch_);
    EXPECT_TRUE(SameBits(dw, expected)) << SimdTargetName();
  }
}

TEST_P(SddmmTest, AnyCutHasTheSameBitsAndTouchesNothingElse) {
  std::vector<float> expected = before_;
  ref::DenseWeightGradient(problem_.input(), 0, shape_.out, mode_, expected.data(), scratch_);
  Rng rng(13);
  const int row = static_cast<int>(rng.Below(shape_.out + 1)), column = static_cast<int>(rng.Below(shape_.in + 1));
  std::vector<float> dw = before_;
  const SddmmPart corner{row, shape_.out, column, shape_.in};
  DenseWeightGradient(problem_.input(), corner, mode_, dw.data(), scratch_);
  for (int o = 0; o < shape_.out; ++o) {
    for (int i = 0; i < shape_.in; ++i) {
      const size_t e = size_t{1} * o * shape_.in + i;
      ASSERT_EQ(dw[e], o >= row && i >= column ? expected[e] : before_[e]) << o << ", " << i;
    }
  }
  DenseWeightGradient(problem_.input(), {row, shape_.out, 0, column}, mode_, dw.data(), scratch_);
  DenseWeightGradient(problem_.input(), 0, row, mode_, dw.data(), scratch_);
  EXPECT_TRUE(SameBits(dw, expected)) << "cut at row " << row << ", column " << column;
}

TEST_P(SddmmTest, AnyNumberOfThreadsHasTheSameBits) {
  std::vector<float> expected = before_;
  ref::DenseWeightGradient(problem_.input(), 0, shape_.out, mode_, expected.data(), scratch_);
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    std::vector<SddmmScratch> scratch(threads);
    std::vector<float> dw = before_;
    DenseWeightGradient(problem_.input(), mode_, dw.data(), pool, scratch);
    EXPECT_TRUE(SameBits(dw, expected)) << threads << " threads";
  }
}

// With x as bf16, what comes out is what comes of the rounded x in floats.
TEST_P(SddmmTest, XAsBf16HasTheBitsOfXWidened) {
  Problem rounded(shape_, std::get<1>(GetParam()), 11);
  const SddmmInput as_bf16 = rounded.RoundX();
  std::vector<float> expected = before_, dw = before_;
  ref::DenseWeightGradient(rounded.input(), 0, shape_.out, mode_, expected.data(), scratch_);
  ref::DenseWeightGradient(as_bf16, 0, shape_.out, mode_, dw.data(), scratch_);
  EXPECT_TRUE(SameBits(dw, expected)) << "reference";
  for (const bool avx2 : {false, true}) {
    RestrictSimdToAvx2(avx2);
    dw = before_;
    DenseWeightGradient(as_bf16, 0, shape_.out, mode_, dw.data(), scratch_);
    EXPECT_TRUE(SameBits(dw, expected)) << SimdTargetName();
    // A part that begins inside a block.
    const SddmmPart part{shape_.out / 2, shape_.out, shape_.in / 3, shape_.in};
    std::vector<float> cut = before_;
    DenseWeightGradient(as_bf16, part, mode_, cut.data(), scratch_);
    for (int o = part.row_begin; o < shape_.out; ++o) {
      for (int i = part.column_begin; i < shape_.in; ++i) {
        ASSERT_EQ(cut[size_t{1} * o * shape_.in + i], expected[size_t{1} * o * shape_.in + i]) << o << ", " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SddmmTest,
                         testing::Combine(testing::ValuesIn(kShapes), testing::ValuesIn(kKept),
                                          testing::Values(SddmmWrite::kOverwrite, SddmmWrite::kAdd)));

// A logical shard of 1024 tokens.
TEST(SddmmAccuracyTest, RelativeErrorOfAShardIsBelowOneInAMillion) {
  for (const Kept kept : {Kept{4, kDense}, Kept{kDense, kDense}, Kept{kDense, 4}}) {
    const Problem problem({40, 50, 16}, kept, 21);
    SddmmScratch scratch;
    std::vector<float> dw(problem.size());
    DenseWeightGradient(problem.input(), 0, 40, SddmmWrite::kOverwrite, dw.data(), scratch);
    std::vector<double> magnitude;
    const double error = RelativeDistance(dw, problem.Exact(&magnitude), dw.size());
    std::printf("seed 21, dy kept 1 in %d, x 1 in %d: relative error %.2g\n", kept.dy, kept.x, error);
    EXPECT_LE(error, 1e-6);
  }
}

// dw is the gradient of sum_{n, o, t} dy[n][o, t] * y[n][o, t], y = w x: linear in w, so a central difference of any
// width is exact up to rounding, here of double.
TEST(SddmmGradientTest, AgreesWithFiniteDifferences) {
  constexpr int kOut = 7, kIn = 9, kTiles = 2;
  const Problem problem({kOut, kIn, kTiles}, {4, kDense}, 31);
  const SddmmInput& input = problem.input();
  SddmmScratch scratch;
  std::vector<float> dw(problem.size());
  DenseWeightGradient(input, 0, kOut, SddmmWrite::kOverwrite, dw.data(), scratch);
  std::vector<double> w(problem.size());
  Rng rng(32);
  for (double& x : w) x = rng.Normal();
  const auto loss = [&] {
    double sum = 0;
    for (int n = 0; n < kTiles; ++n) {
      for (int o = 0; o < kOut; ++o) {
        for (int t = 0; t < kTileTokens; ++t) {
          double y = 0;
          for (int i = 0; i < kIn; ++i) y += w[o * kIn + i] * input.x[n * input.x_stride + i * kTileTokens + t];
          sum += y * input.dy[n * input.dy_stride + o * kTileTokens + t];
        }
      }
    }
    return sum;
  };
  for (size_t i = 0; i < w.size(); ++i) {
    const double at = w[i];
    w[i] = at + 0.5;
    const double above = loss();
    w[i] = at - 0.5;
    const double below = loss();
    w[i] = at;
    EXPECT_NEAR(dw[i], above - below, 1e-4) << "weight " << i;
  }
}

}  // namespace
}  // namespace filigree::kernels
