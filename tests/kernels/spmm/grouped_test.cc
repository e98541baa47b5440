#include "kernels/spmm/grouped.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/simd.h"
#include "kernels/spmm/spmm.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::BitwiseEqual;
using testing_support::OwnedTile;
using testing_support::Rng;

constexpr uint64_t kSeed = 131;

struct Case {
  int rows, cols, stripes;
  std::vector<int> bounds;
  double density;
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.rows << " x " << c.cols << " in " << c.stripes << " stripes of " << c.bounds.size() - 1 << " groups at "
      << c.density << ", seed " << kSeed;
}

// Groups of one column, empty ones, counts that are no power of two, more entries than a block.
const Case kCases[] = {{5, 1, 1, {0, 1}, 1},
                       {67, 33, 1, {0, 33}, 0.5},
                       {67, 33, 3, {0, 1, 11}, 0.4},
                       {40, 300, 3, {0, 40, 100}, 1},
                       {31, 400, 1, {0, 130, 200, 200, 399, 400}, 0.9},
                       {9, 96, 2, {0, 6, 12, 18, 24, 30, 36, 42, 48}, 0.3},
                       {12, 70, 1, {0, 10, 20, 30, 40, 50, 60, 70}, 0.05},
                       {3, 64, 1, {0, 32, 64}, 0}};

struct Problem {
  Problem(const Case& c) : w(size_t{1} * c.rows * c.cols), bias(c.rows), x(c.cols), pool(2) {
    Rng rng(kSeed);
    Buffer<uint64_t> kept((w.size() + 63) / 64);
    for (size_t i = 0; i < w.size(); ++i) {
      if (!(rng.Uniform() < c.density)) continue;
      w[i] = rng.Normal();
      kept[i / 64] |= uint64_t{1} << i % 64;
    }
    for (float& v : bias) v = rng.Normal();
    x.Fill([&] { return rng.Normal(); });
    csr.BuildFromDense(w.data(), kept.data(), c.rows, c.cols, pool);
    offsets.Build(csr.view(), c.stripes, c.bounds, pool);
  }
  GroupedCsr grouped() const { return offsets.View(csr.view()); }

  Buffer<float> w;
  std::vector<float> bias;
  OwnedTile x;
  Csr csr;
  GroupOffsets offsets;
  ThreadPool pool;
};

class SpmmGroupsTest : public testing::TestWithParam<Case> {
 protected:
  void TearDown() override { RestrictSimdToAvx2(false); }

  const Case c_ = GetParam();
  const int groups_ = static_cast<int>(c_.bounds.size()) - 1;
  const Problem p_{c_};
};

int GroupOf(const Case& c, int column) {
  const int within = column % (c.cols / c.stripes);
  int group = 0;
  while (within >= c.bounds[group + 1]) ++group;
  return group;
}

TEST_P(SpmmGroupsTest, ReferenceIsWithinRoundingOfDouble) {
  for (int first = 0; first < groups_; ++first) {
    const int count = groups_ - first;
    OwnedTile y(c_.rows);
    ref::SpmmGroups(p_.grouped(), first, count, p_.x, p_.bias.data(), y);
    for (int r = 0; r < c_.rows; ++r) {
      for (int t = 0; t < kTileTokens; ++t) {
        double sum = p_.bias[r], magnitude = std::abs(sum), terms = 1;
        for (int c = 0; c < c_.cols; ++c) {
          if (GroupOf(c_, c) < first) continue;
          const double product = double{p_.w[r * c_.cols + c]} * double{p_.x.at(c, t)};
          sum += product;
          magnitude += std::abs(product);
          ++terms;
        }
        ASSERT_NEAR(y.at(r, t), sum, 1.01 * std::ldexp(1.0, -24) * terms * magnitude) << r << ", " << t;
      }
    }
  }
}

TEST_P(SpmmGroupsTest, BothTargetsHaveTheBitsOfTheReference) {
  for (const float* bias : {p_.bias.data(), static_cast<const float*>(nullptr)}) {
    for (int first = 0; first < groups_; ++first) {
      for (int count = 1; first + count <= groups_; ++count) {
        OwnedTile expected(c_.rows);
        ref::SpmmGroups(p_.grouped(), first, count, p_.x, bias, expected);
        for (const bool avx2 : {false, true}) {
          RestrictSimdToAvx2(avx2);
          OwnedTile y(c_.rows);
          y.Fill([] { return NAN; });
          SpmmGroups(p_.grouped(), first, count, p_.x, bias, y);
          EXPECT_TRUE(BitwiseEqual(y, expected)) << SimdTargetName() << " " << first << " " << count;
        }
      }
    }
  }
}

// What a process that holds some groups only computes from its slice is what the whole matrix has there.
TEST_P(SpmmGroupsTest, ASliceOfTheColumnsHasTheSameSums) {
  const int stripe = c_.cols / c_.stripes;
  for (int first = 0; first < groups_; ++first) {
    const int begin = c_.bounds[first], width = stripe - begin;
    if (width == 0) continue;
    Case slice = c_;
    slice.cols = width * c_.stripes;
    slice.bounds.assign(c_.bounds.begin() + first, c_.bounds.end());
    for (int& bound : slice.bounds) bound -= begin;
    Problem q(slice);
    Buffer<uint64_t> kept((q.w.size() + 63) / 64);
    for (int c = 0; c < slice.cols; ++c) {
      const int from = c / width * stripe + begin + c % width;
      for (int t = 0; t < kTileTokens; ++t) q.x.at(c, t) = p_.x.at(from, t);
      for (int r = 0; r < c_.rows; ++r) {
        const int i = r * slice.cols + c;
        q.w[i] = p_.w[r * c_.cols + from];
        if (q.w[i] != 0) kept[i / 64] |= uint64_t{1} << i % 64;
      }
    }
    q.csr.BuildFromDense(q.w.data(), kept.data(), slice.rows, slice.cols, q.pool);
    q.offsets.Build(q.csr.view(), slice.stripes, slice.bounds, q.pool);
    OwnedTile y(c_.rows), expected(c_.rows);
    SpmmGroups(q.grouped(), 0, groups_ - first, q.x, nullptr, y);
    SpmmGroups(p_.grouped(), first, groups_ - first, p_.x, nullptr, expected);
    EXPECT_TRUE(BitwiseEqual(y, expected)) << first;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SpmmGroupsTest, testing::ValuesIn(kCases));

TEST(SpmmGroups, OfOneGroupHasTheBitsOfSpmm) {
  const Problem p({70, 500, 1, {0, 500}, 0.5});
  OwnedTile y(70), expected(70);
  SpmmGroups(p.grouped(), 0, 1, p.x, p.bias.data(), y);
  Spmm(p.csr.view(), p.x, p.bias.data(), expected);
  EXPECT_TRUE(BitwiseEqual(y, expected));
}

TEST(SpmmGroupsDeathTest, RefusesGroupsThatDoNotFit) {
  Problem p({4, 6, 1, {0, 3, 6}, 1});
  OwnedTile y(4);
  EXPECT_DEATH(SpmmGroups(p.grouped(), 1, 2, p.x, nullptr, y), "groups \\[1, 3\\) of 2");
  const std::vector<int> bounds = {0, 3, 5};
  EXPECT_DEATH(p.offsets.Build(p.csr.view(), 1, bounds, p.pool), "groups of \\[0, 5\\) in a stripe of 6");
}

}  // namespace
}  // namespace filigree::kernels
