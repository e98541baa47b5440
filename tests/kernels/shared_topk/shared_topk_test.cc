// The shares of matrices under one threshold against the definition, and the masks that follow from them: whole
// matrices and candidates, every kind of weight, guesses that are right, wrong and senseless.

#include "kernels/shared_topk/shared_topk.h"

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/candidate_topk/candidate_topk.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr uint64_t kSeed = 43;

struct Draw {
  const char* name;
  float (*value)(Rng&, int matrix);
};

const Draw kDraws[] = {
    {"normal", [](Rng& rng, int) { return rng.Normal(); }},
    // So that some matrices keep min alive's entries alone.
    {"scales", [](Rng& rng, int m) { return rng.Normal() * std::pow(8.0f, static_cast<float>(m % 4)); }},
    {"three_values", [](Rng& rng, int) { return static_cast<float>(rng.Below(3)) - 1.0f; }},
    {"mostly_zero", [](Rng& rng, int) { return rng.Below(50) ? 0.0f : rng.Normal(); }},
    {"all_zero", [](Rng& rng, int) { return rng.Below(2) ? 0.0f : -0.0f; }},
    {"all_equal", [](Rng& rng, int) { return rng.Below(2) ? 0.25f : -0.25f; }},
    {"subnormal", [](Rng& rng, int) { return rng.Normal() * 1e-42f; }},
    {"mostly_nan", [](Rng& rng, int) { return rng.Below(4) ? -kNan : rng.Normal(); }},
    {"random_bits", [](Rng& rng, int) { return std::bit_cast<float>(static_cast<uint32_t>(rng.Below(0xffffffffu))); }},
};

struct Group {
  std::vector<Pattern> patterns;
  std::vector<PatternView> views;
  std::vector<std::vector<float>> w;
  std::vector<SharingMatrix> matrices;
  int64_t least = 0, entries = 0;  // that step 1 keeps, that there are
};

int64_t KeptByUnits(const SharingMatrix& matrix) {
  std::vector<int64_t> sizes(matrix.unit == Unit::kRow ? matrix.rows : matrix.unit == Unit::kColumn ? matrix.cols : 0);
  for (int64_t r = 0; r < matrix.rows && !sizes.empty(); ++r) {
    for (int64_t c = 0; c < matrix.cols && matrix.pattern == nullptr; ++c) ++sizes[matrix.unit == Unit::kRow ? r : c];
    if (matrix.pattern == nullptr) continue;
    for (uint32_t e = matrix.pattern->row_offsets[r]; e < matrix.pattern->row_offsets[r + 1]; ++e) {
      ++sizes[matrix.unit == Unit::kRow ? r : matrix.pattern->col_indices[e]];
    }
  }
  int64_t sum = 0;
  for (const int64_t size : sizes) sum += std::min<int64_t>(size, matrix.min_alive);
  return sum;
}

// Odd sizes, units of all kinds and some that are shorter than their min alive; every other matrix is on candidates if
// `candidates`.
void Fill(const Draw& draw, bool candidates, Rng& rng, Group& group) {
  const int shapes[][2] = {{17, 65}, {1, 70}, {70, 1}, {3, 5}, {70, 63}, {64, 130}, {1, 1}};
  constexpr int kCount = 7;
  group.patterns.reserve(kCount);
  group.views.reserve(kCount);
  for (int m = 0; m < kCount; ++m) {
    SharingMatrix matrix;
    matrix.rows = shapes[m][0];
    matrix.cols = shapes[m][1];
    matrix.unit = static_cast<Unit>(m % 3);
    matrix.min_alive = m % 4;
    if (candidates && m % 2 == 0) {
      Bitmap bits((matrix.rows * matrix.cols + 63) / 64);
      for (int64_t i = 0; i < matrix.rows * matrix.cols; ++i) bits[i / 64] |= uint64_t{rng.Below(3) == 0} << (i % 64);
      group.patterns.push_back(Pattern::FromDenseBitmap(shapes[m][0], shapes[m][1], bits.data()));
      group.views.push_back(group.patterns.back().view());
      matrix.pattern = &group.views.back();
    }
    std::vector<float>& w = group.w.emplace_back(matrix.entries());
    for (float& value : w) value = draw.value(rng, m);
    matrix.w = w.data();
    group.least += KeptByUnits(matrix);
    group.entries += matrix.entries();
    group.matrices.push_back(matrix);
  }
}

std::vector<Bitmap> Masks(const Group& group) {
  std::vector<Bitmap> masks;
  for (const SharingMatrix& matrix : group.matrices)
    masks.emplace_back((matrix.entries() + 63) / 64, 0x5a5a5a5a5a5a5a5a);
  return masks;
}

std::vector<Bitmap> Defined(const Group& group, int64_t k) {
  std::vector<Bitmap> masks = Masks(group);
  std::vector<uint64_t*> kept;
  kept.reserve(masks.size());
  for (Bitmap& mask : masks) kept.push_back(mask.data());
  ref::SelectSharing(group.matrices, k, kept);
  return masks;
}

// The masks of each matrix alone, for its share.
std::vector<Bitmap> FromShares(const Group& group, const std::vector<int64_t>& shares, ThreadPool& pool) {
  std::vector<Bitmap> masks = Masks(group);
  for (size_t m = 0; m < group.matrices.size(); ++m) {
    const SharingMatrix& s = group.matrices[m];
    if (s.pattern != nullptr) {
      SelectCandidates(*s.pattern, s.w, {shares[m], s.min_alive, s.unit}, nullptr, masks[m].data());
    } else {
      SelectWeights(s.w, {s.rows, s.cols, shares[m], s.min_alive, s.unit}, nullptr, pool, masks[m].data());
    }
  }
  return masks;
}

int64_t Ones(const Bitmap& mask) {
  return std::accumulate(mask.begin(), mask.end(), int64_t{0},
                         [](int64_t n, uint64_t w) { return n + std::popcount(w); });
}

void ExpectShares(const Group& group, int64_t k, ThreadPool& pool) {
  SCOPED_TRACE("seed " + std::to_string(kSeed) + ", k " + std::to_string(k) + ", " + std::to_string(pool.threads()));
  const std::vector<Bitmap> defined = Defined(group, k);
  std::vector<int64_t> expected;
  expected.reserve(defined.size());
  for (const Bitmap& mask : defined) expected.push_back(Ones(mask));
  float found = 0;
  const std::vector<int64_t> shares = ShareEntries(group.matrices, k, &found, pool);
  ASSERT_EQ(shares, expected);
  EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), int64_t{0}), k);
  ASSERT_EQ(FromShares(group, shares, pool), defined);
  ASSERT_EQ(ShareEntries(group.matrices, k, nullptr, pool), expected);
  for (const float guess : {found, found * 0.9f, found * 3, found / 3, kNan, -1.0f, 1e-45f, 3e38f, INFINITY}) {
    float again = guess;
    ASSERT_EQ(ShareEntries(group.matrices, k, &again, pool), expected) << "guess " << guess;
    EXPECT_EQ(std::bit_cast<uint32_t>(again), std::bit_cast<uint32_t>(found)) << "guess " << guess;
  }
}

class SharedTopK : public testing::TestWithParam<Draw> {};

TEST_P(SharedTopK, SharesAreThoseOfTheDefinition) {
  Rng rng(kSeed);
  ThreadPool one(1), three(3);
  for (const bool candidates : {false, true}) {
    Group group;
    Fill(GetParam(), candidates, rng, group);
    ASSERT_GT(group.least, 0);
    const int64_t between = group.entries - group.least;
    for (const int64_t k : {group.least, group.least + 1, group.least + between / 50, group.least + between / 3,
                            group.least + between / 2, group.entries - 1, group.entries}) {
      ExpectShares(group, k, k % 2 == 0 ? one : three);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Draws, SharedTopK, testing::ValuesIn(kDraws),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(SharedTopK, ALargerMatrixThanAThreadTakesAtOnce) {
  Rng rng(kSeed);
  std::vector<float> a(300 * 701), b(129 * 513);
  for (float& value : a) value = rng.Normal();
  for (float& value : b) value = std::round(rng.Normal() * 8) / 4;
  Group group;
  group.matrices = {{a.data(), 300, 701, nullptr, 3, Unit::kRow}, {b.data(), 129, 513, nullptr, 2, Unit::kColumn}};
  group.least = 300 * 3 + 513 * 2;
  ThreadPool pool(3);
  for (const int64_t k : {int64_t{2500}, int64_t{20000}, int64_t{150000}}) ExpectShares(group, k, pool);
}

TEST(SharedTopK, TiesGoToTheEarlierMatrix) {
  const std::vector<float> a(10, 0.5f), b(10, -0.5f);
  ThreadPool pool(2);
  const SharingMatrix matrices[] = {{a.data(), 2, 5}, {b.data(), 5, 2}};
  EXPECT_EQ(ShareEntries(matrices, 13, nullptr, pool), (std::vector<int64_t>{10, 3}));
  const SharingMatrix alive[] = {{a.data(), 2, 5}, {b.data(), 5, 2, nullptr, 1, Unit::kRow}};
  EXPECT_EQ(ShareEntries(alive, 13, nullptr, pool), (std::vector<int64_t>{8, 5}));
}

TEST(SharedTopK, NothingSharesNothing) {
  ThreadPool pool(1);
  EXPECT_TRUE(ShareEntries({}, 0, nullptr, pool).empty());
  const std::vector<float> a(4, 1.0f);
  const SharingMatrix matrices[] = {{a.data(), 2, 2}};
  EXPECT_EQ(ShareEntries(matrices, 0, nullptr, pool), std::vector<int64_t>{0});
}

TEST(SharedTopKDeath, RefusesAKThatCannotBe) {
  ThreadPool pool(1);
  const std::vector<float> a(4, 1.0f);
  const SharingMatrix matrices[] = {{a.data(), 2, 2, nullptr, 1, Unit::kRow}};
  EXPECT_DEATH(ShareEntries(matrices, 5, nullptr, pool), "k = 5 of 4 entries");
  EXPECT_DEATH(ShareEntries(matrices, 1, nullptr, pool), "min_alive asks for 1 entries more than k = 1");
}

}  // namespace
}  // namespace filigree::kernels
