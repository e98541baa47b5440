#include "kernels/candidates/candidates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/spmm/spmm.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

struct Case {
  int out, in;
  double candidates, kept;  // share of the positions, share of the candidates
  int tiles = 1;
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.out << " x " << c.in << ", candidates " << c.candidates << ", of them kept " << c.kept << ", " << c.tiles
      << " tiles";
}

// Single entries, single rows and columns, empty rows, everything, nothing kept, all kept; columns of more than a block
// of kernels/spmm; tall matrices, whose reserve is taken by rows, and wide ones.
const Case kCases[] = {{1, 1, 1, 1},
                       {1, 1, 1, 0},
                       {1, 1, 0, 1},
                       {1, 300, 0.3, 0.5},
                       {300, 1, 0.3, 0.5},
                       {67, 33, 0.2, 0.25, 3},
                       {67, 33, 1, 1, 3},
                       {67, 33, 1, 0.4, 3},
                       {67, 33, 0.5, 0},
                       {67, 33, 0, 1},
                       {400, 90, 0.01, 0.25},
                       {500, 40, 0.9, 0.9},
                       {257, 129, 0.5, 1},
                       {90, 700, 0.002, 0.5},
                       {64, 4096, 0.01, 0.3},
                       {4096, 64, 0.01, 0.3, 3},
                       {4096, 64, 0.02, 1},
                       {4096, 64, 0.02, 0},
                       {2049, 17, 1, 0.5},
                       {4096, 3, 0.0005, 0.5},
                       {3000, 70, 0.2, 0.5, 2},
                       {70, 300, 0.5, 0.3, 2},
                       {129, 1000, 0.1, 0.3, 2}};

// A pattern, its weights and bitmap, and tiles of activations.
struct Problem {
  Problem(const Case& c, uint64_t seed) : bias(c.out) {
    Rng rng(seed);
    std::vector<uint64_t> positions((static_cast<size_t>(c.out) * c.in + 63) / 64);
    for (size_t i = 0; i < static_cast<size_t>(c.out) * c.in; ++i) {
      if (rng.Uniform() < c.candidates) positions[i / 64] |= uint64_t{1} << i % 64;
    }
    pattern = Pattern::FromDenseBitmap(c.out, c.in, positions.data());
    kept.resize(pattern.view().words());
    w.resize(pattern.nnz());
    for (size_t e = 0; e < w.size(); ++e) {
      w[e] = rng.Normal();  // of the reserve too: a kernel must not take it
      if (rng.Uniform() < c.kept) kept[e / 64] |= uint64_t{1} << e % 64;
    }
    for (float& b : bias) b = rng.Normal();
    for (int n = 0; n < c.tiles; ++n) {
      x.push_back(std::make_unique<OwnedTile>(c.in));
      dy.push_back(std::make_unique<OwnedTile>(c.out));
      x.back()->Fill([&] { return rng.Normal(); });
      dy.back()->Fill([&] { return rng.Normal(); });
    }
  }
  bool IsKept(size_t e) const { return (kept[e / 64] >> e % 64 & 1) != 0; }

  Pattern pattern;
  std::vector<uint64_t> kept;
  std::vector<float> w, bias;
  std::vector<std::unique_ptr<OwnedTile>> x, dy;
};

// dw of all tiles, as the reference and as CandidateMatrix forms it, two tiles a partial.
std::vector<float> ReferenceGradient(const Problem& p) {
  std::vector<float> sum(p.w.size());
  for (size_t n = 0; n < p.x.size(); n += 2) {
    std::vector<float> partial(p.w.size());
    for (size_t i = n; i < std::min(n + 2, p.x.size()); ++i) {
      ref::CandidateGradient(p.pattern.view(), *p.dy[i], *p.x[i], partial.data());
    }
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += partial[e];
  }
  return sum;
}

std::vector<float> Gradient(const Problem& p, const CandidateMatrix& m, bool with_dx, ThreadPool& pool) {
  std::vector<std::vector<float>> partials;
  std::vector<const float*> all;
  OwnedTile dx(m.in());
  for (size_t n = 0; n < p.x.size(); ++n) {
    if (n % 2 == 0) partials.emplace_back(p.w.size() + 1, 0.0f).back() = 17;  // a mark behind the last
    m.BackwardWithGradient(*p.dy[n], *p.x[n], with_dx ? dx.tile() : Tile{}, partials.back().data());
    EXPECT_EQ(partials.back().back(), 17);
  }
  all.reserve(partials.size());
  for (const auto& partial : partials) all.push_back(partial.data());
  std::vector<float> gradient(p.w.size(), NAN);
  m.SumPartials(all, false, gradient.data(), pool);
  return gradient;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// What the reference makes of a problem.
struct Expected {
  Expected(const Problem& p, const uint64_t* kept)
      : y(p.pattern.rows()), dx(p.pattern.cols()), dw(ReferenceGradient(p)) {
    ref::CandidateForward(p.pattern.view(), p.w.data(), kept, *p.x[0], p.bias.data(), y);
    ref::CandidateBackward(p.pattern.view(), p.w.data(), kept, *p.dy[0], dx);
  }

  OwnedTile y, dx;
  std::vector<float> dw;
};

class CandidatesTest : public testing::TestWithParam<Case> {
 protected:
  void ExpectBits(const CandidateMatrix& m, const Expected& expected, ThreadPool& pool) {
    OwnedTile y(c_.out), dx(c_.in);
    y.Fill([] { return NAN; });
    dx.Fill([] { return NAN; });
    m.Forward(*p_.x[0], p_.bias.data(), y);
    EXPECT_TRUE(BitwiseEqual(y, expected.y));
    m.Backward(*p_.dy[0], dx);
    EXPECT_TRUE(BitwiseEqual(dx, expected.dx));
    dx.Fill([] { return NAN; });
    std::vector<float> partial(p_.w.size());
    m.BackwardWithGradient(*p_.dy[0], *p_.x[0], dx, partial.data());
    EXPECT_TRUE(BitwiseEqual(dx, expected.dx)) << "together with the gradient";
    EXPECT_TRUE(SameBits(Gradient(p_, m, true, pool), expected.dw));
    EXPECT_TRUE(SameBits(Gradient(p_, m, false, pool), expected.dw)) << "alone";
  }

  const Case c_ = GetParam();
  const Problem p_{c_, 201};
};

TEST_P(CandidatesTest, XAsBf16HasTheBitsOfXWidened) {
  Problem p(c_, 201);
  ThreadPool pool(1);
  Buffer<uint32_t> words(static_cast<size_t>(c_.in) * kBf16RowWords);
  const Bf16Tile x{words.data(), c_.in};
  RoundToBf16(*p.x[0], x);
  CandidateMatrix m;
  m.SetPattern(p.pattern.view(), pool);
  m.SetWeights(p.w.data(), p.kept.data(), pool);
  const auto compute = [&](auto input, OwnedTile& y, OwnedTile& dx) {
    std::vector<float> partial(2 * p.w.size() + 1, 0.5f);
    m.Forward(input, p.bias.data(), y);
    m.BackwardWithGradient(*p.dy[0], input, dx, partial.data());
    m.BackwardWithGradient(*p.dy[0], input, Tile{}, partial.data() + p.w.size());
    return partial;
  };
  OwnedTile expected_y(c_.out), expected_dx(c_.in);
  const std::vector<float> expected = compute(ConstTile(*p.x[0]), expected_y, expected_dx);
  const auto check = [&] {
    OwnedTile y(c_.out), dx(c_.in);
    EXPECT_TRUE(SameBits(compute(ConstBf16Tile(x), y, dx), expected)) << SimdTargetName();
    EXPECT_TRUE(BitwiseEqual(y, expected_y)) << SimdTargetName();
    EXPECT_TRUE(BitwiseEqual(dx, expected_dx)) << SimdTargetName();
  };
  check();
  RestrictSimdToAvx2(true);
  check();
  RestrictSimdToAvx2(false);
}

TEST_P(CandidatesTest, BothTargetsHaveTheBitsOfTheReferenceWithAnyNumberOfThreads) {
  const Expected expected(p_, p_.kept.data());
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    CandidateMatrix m;
    m.SetPattern(p_.pattern.view(), pool);
    m.SetWeights(p_.w.data(), p_.kept.data(), pool);
    EXPECT_EQ(m.candidates(), p_.pattern.nnz());
    SCOPED_TRACE(threads);
    ExpectBits(m, expected, pool);
    const Avx2Only avx2;
    SCOPED_TRACE("AVX2");
    ExpectBits(m, expected, pool);
  }
}

TEST_P(CandidatesTest, NoBitmapMeansAll) {
  ThreadPool pool(2);
  CandidateMatrix m;
  m.SetPattern(p_.pattern.view(), pool);
  m.SetWeights(p_.w.data(), nullptr, pool);
  ExpectBits(m, Expected(p_, nullptr), pool);
}

// The reference against sums in double: n fused multiply-adds err by at most about n eps times the sum of magnitudes.
TEST_P(CandidatesTest, ReferenceGradientIsWithinRoundingOfDouble) {
  std::vector<float> dw(p_.w.size());
  ref::CandidateGradient(p_.pattern.view(), *p_.dy[0], *p_.x[0], dw.data());
  const PatternView pattern = p_.pattern.view();
  for (int r = 0; r < c_.out; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      double sum = 0, magnitude = 0;
      for (int t = 0; t < kTileTokens; ++t) {
        const double product = double{p_.dy[0]->at(r, t)} * double{p_.x[0]->at(pattern.col_indices[e], t)};
        sum += product;
        magnitude += std::abs(product);
      }
      // 4 to a lane, then a tree of 4.
      ASSERT_NEAR(dw[e], sum, 1.01 * std::ldexp(1.0, -24) * 8 * magnitude) << e;
    }
  }
}

// L = sum of y * g for a fixed g, so dL/dw[e] in double by a difference (L is linear: exact but for rounding), for kept
// and reserve alike: what the reserve's gradient means is what would happen if the entry had a weight.
TEST_P(CandidatesTest, GradientsAreSlopes) {
  ThreadPool pool(2);
  CandidateMatrix m;
  m.SetPattern(p_.pattern.view(), pool);
  m.SetWeights(p_.w.data(), p_.kept.data(), pool);
  const OwnedTile &g = *p_.dy[0], &x = *p_.x[0];
  std::vector<float> partial(p_.w.size() + 16), dw(p_.w.size());
  OwnedTile dx(c_.in);
  m.BackwardWithGradient(g, x, dx, partial.data());
  const float* partials[] = {partial.data()};
  m.SumPartials(partials, false, dw.data(), pool);

  const PatternView pattern = p_.pattern.view();
  // L(w + h * e_at): only row `row` of y changes.
  const auto loss_of_row = [&](int row, uint32_t at, double h) {
    double loss = 0;
    for (int t = 0; t < kTileTokens; ++t) {
      double y = 0;
      for (uint32_t e = pattern.row_offsets[row]; e < pattern.row_offsets[row + 1]; ++e) {
        const double weight = (p_.IsKept(e) ? double{p_.w[e]} : 0.0) + (e == at ? h : 0.0);
        y += weight * double{x.at(pattern.col_indices[e], t)};
      }
      loss += y * double{g.at(row, t)};
    }
    return loss;
  };
  Rng rng(202);
  for (int i = 0; i < 20 && pattern.nnz() > 0; ++i) {
    const auto at = static_cast<uint32_t>(rng.Below(pattern.nnz()));
    int row = 0;
    while (pattern.row_offsets[row + 1] <= at) ++row;
    const double slope = (loss_of_row(row, at, 0.5) - loss_of_row(row, at, -0.5)) / 1.0;
    // |g . x| is about sqrt(64); 64 products of about 1, each rounded.
    EXPECT_NEAR(dw[at], slope, 64 * 8 * std::ldexp(1.0, -24)) << "entry " << at;
  }
}

// <dy, W x> = <W^T dy, x>.
TEST_P(CandidatesTest, BackwardIsTheAdjointOfForward) {
  ThreadPool pool(1);
  CandidateMatrix m;
  m.SetPattern(p_.pattern.view(), pool);
  m.SetWeights(p_.w.data(), p_.kept.data(), pool);
  OwnedTile y(c_.out), dx(c_.in);
  m.Forward(*p_.x[0], nullptr, y);
  m.Backward(*p_.dy[0], dx);
  double forward = 0, backward = 0, magnitude = 0;
  for (int t = 0; t < kTileTokens; ++t) {
    for (int r = 0; r < c_.out; ++r) {
      forward += double{p_.dy[0]->at(r, t)} * double{y.at(r, t)};
      magnitude += std::abs(double{p_.dy[0]->at(r, t)} * double{y.at(r, t)});
    }
    for (int i = 0; i < c_.in; ++i) {
      backward += double{dx.at(i, t)} * double{p_.x[0]->at(i, t)};
      magnitude += std::abs(double{dx.at(i, t)} * double{p_.x[0]->at(i, t)});
    }
  }
  // Sums of up to `out` or `in` terms in blocks of 32.
  EXPECT_NEAR(forward, backward, (32 + std::max(c_.out, c_.in) / 32.0) * std::ldexp(1.0, -24) * magnitude);
}

INSTANTIATE_TEST_SUITE_P(Cases, CandidatesTest, testing::ValuesIn(kCases));

TEST(CandidateMatrixTest, AddsToWhatTheGradientWas) {
  const Problem p({50, 30, 0.3, 0.5, 3}, 211);
  ThreadPool pool(2);
  CandidateMatrix m;
  m.SetPattern(p.pattern.view(), pool);
  m.SetWeights(p.w.data(), p.kept.data(), pool);
  std::vector<float> a(p.w.size() + 16), b(p.w.size() + 16);
  m.BackwardWithGradient(*p.dy[0], *p.x[0], {}, a.data());
  m.BackwardWithGradient(*p.dy[1], *p.x[1], {}, b.data());
  const float* partials[] = {a.data(), b.data()};
  std::vector<float> sum(p.w.size()), added(p.w.begin(), p.w.end());
  m.SumPartials(partials, false, sum.data(), pool);
  m.SumPartials(partials, true, added.data(), pool);
  for (size_t e = 0; e < sum.size(); ++e) EXPECT_EQ(added[e], p.w[e] + sum[e]) << e;
}

// From step to step masks, weights, membership and even the shape change; nothing of the past may show, and what is
// warm allocates nothing.
TEST(CandidateMatrixTest, IsReused) {
  ThreadPool pool(2);
  CandidateMatrix reused;
  uint64_t seed = 221;
  for (const Case& c : {Case{300, 40, 0.9, 0.5}, Case{40, 300, 0.1, 0.2}, Case{2500, 9, 0.3, 0.5}, Case{7, 9, 1, 0.5},
                        Case{300, 40, 0.9, 0.1}}) {
    const Problem p(c, seed++);
    reused.SetPattern(p.pattern.view(), pool);
    reused.SetWeights(p.w.data(), nullptr, pool);
    reused.SetWeights(p.w.data(), p.kept.data(), pool);
    CandidateMatrix fresh;
    fresh.SetPattern(p.pattern.view(), pool);
    fresh.SetWeights(p.w.data(), p.kept.data(), pool);
    OwnedTile y(c.out), dx(c.in), expected_y(c.out), expected_dx(c.in);
    reused.Forward(*p.x[0], nullptr, y);
    fresh.Forward(*p.x[0], nullptr, expected_y);
    EXPECT_TRUE(BitwiseEqual(y, expected_y));
    reused.Backward(*p.dy[0], dx);
    fresh.Backward(*p.dy[0], expected_dx);
    EXPECT_TRUE(BitwiseEqual(dx, expected_dx));
    EXPECT_TRUE(SameBits(Gradient(p, reused, true, pool), Gradient(p, fresh, true, pool)));
    const size_t bytes = reused.bytes();
    reused.SetPattern(p.pattern.view(), pool);
    reused.SetWeights(p.w.data(), p.kept.data(), pool);
    EXPECT_EQ(reused.bytes(), bytes);
  }
}

// Arrays are given up to a quarter more than is written, and groups have room for one a candidate (1.5 bytes of it are
// not written where lines are long).
TEST(CandidateMatrixTest, TakesWhatIsSaidBeforehand) {
  uint64_t seed = 700;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Case& c : kCases) {
      const Problem p(c, seed++);
      CandidateMatrix matrix;
      matrix.SetPattern(p.pattern.view(), pool);
      matrix.SetWeights(p.w.data(), p.kept.data(), pool);
      const int64_t candidates = matrix.candidates(), held = static_cast<int64_t>(matrix.bytes());
      const int64_t said = CandidateMatrix::BytesOf(c.out, c.in, candidates, matrix.rows().nnz(), threads);
      constexpr int64_t kPadding = 1000;
      EXPECT_LE(said, held) << testing::PrintToString(c);
      EXPECT_GE(said + candidates * 3 / 2, (held - kPadding) * 4 / 5) << testing::PrintToString(c);
    }
  }
}

// Every candidate once, columns of a window together, the same order for any threads.
TEST(SampledOrderTest, IsAPermutationThatNoThreadChanges) {
  for (const Case& c : {Case{500, 210, 0.06, 1}, Case{210, 500, 0.06, 1}, Case{300, 300, 0.01, 1}, Case{5, 9, 0, 1}}) {
    const Problem p(c, 251);
    const PatternView pattern = p.pattern.view();
    ThreadPool one(1);
    SampledOrder expected;
    expected.Build(pattern, one);
    ASSERT_EQ(expected.size(), pattern.nnz());
    const std::vector<uint32_t> source(expected.source(), expected.source() + expected.size());
    std::vector<uint32_t> sorted = source;
    std::sort(sorted.begin(), sorted.end());
    for (size_t e = 0; e < sorted.size(); ++e) ASSERT_EQ(sorted[e], e);
    for (uint32_t i = 4; i < expected.ends()[0]; i += 4) {
      ASSERT_LE(expected.others()[i - 4] / SampledOrder::kWindow, expected.others()[i] / SampledOrder::kWindow);
      ASSERT_LT(expected.others()[i], expected.others()[i + 3]);
    }
    for (const int threads : {2, 3}) {
      ThreadPool pool(threads);
      SampledOrder order;
      order.Build(pattern, pool);
      EXPECT_TRUE(std::equal(source.begin(), source.end(), order.source())) << threads << " threads";
    }
  }
}

// A partial gradient that was begun under one mask goes on under another.
TEST(CandidateMatrixTest, WeightsLeaveTheOrderOfPartialsAlone) {
  const Problem p({90, 120, 0.3, 0.5, 2}, 261);
  ThreadPool pool(2);
  CandidateMatrix m;
  m.SetPattern(p.pattern.view(), pool);
  m.SetWeights(p.w.data(), p.kept.data(), pool);
  std::vector<float> partial(p.w.size()), dw(p.w.size());
  m.BackwardWithGradient(*p.dy[0], *p.x[0], {}, partial.data());
  m.SetWeights(p.w.data(), nullptr, pool);
  m.BackwardWithGradient(*p.dy[1], *p.x[1], {}, partial.data());
  const float* partials[] = {partial.data()};
  m.SumPartials(partials, false, dw.data(), pool);
  std::vector<float> expected(p.w.size());
  for (int i = 0; i < 2; ++i) ref::CandidateGradient(p.pattern.view(), *p.dy[i], *p.x[i], expected.data());
  EXPECT_TRUE(SameBits(dw, expected));
}

TEST(CandidateMatrixTest, CopiesWhatItIsGiven) {
  ThreadPool pool(1);
  CandidateMatrix m;
  OwnedTile before(60), after(60), x(70);
  x.Fill([] { return 1.0f; });
  {
    Problem p({60, 70, 0.5, 0.5}, 231);
    m.SetPattern(p.pattern.view(), pool);
    m.SetWeights(p.w.data(), p.kept.data(), pool);
    m.Forward(x, nullptr, before);
    for (float& v : p.w) v = NAN;
    for (uint64_t& v : p.kept) v = 0;
    std::memset(p.pattern.col_indices(), 0, p.pattern.nnz() * sizeof(uint16_t));
  }
  m.Forward(x, nullptr, after);
  EXPECT_TRUE(BitwiseEqual(after, before));
}

TEST(CandidateMatrixDeathTest, RefusesTilesOfOtherShapes) {
  const Problem p({4, 5, 1, 1}, 241);
  ThreadPool pool(1);
  CandidateMatrix m;
  m.SetPattern(p.pattern.view(), pool);
  m.SetWeights(p.w.data(), nullptr, pool);
  OwnedTile four(4), five(5);
  std::vector<float> partial(36);
  EXPECT_DEATH(m.Forward(four, nullptr, four), "x has 4 channels");
  EXPECT_DEATH(m.Backward(five, five), "dy has 5 channels of 4");
  EXPECT_DEATH(m.BackwardWithGradient(four, four, five, partial.data()), "x has 4 channels of 5");
  EXPECT_DEATH(m.BackwardWithGradient(four, five, four, partial.data()), "dx has 4 channels of 5");
}

}  // namespace
}  // namespace filigree::kernels
