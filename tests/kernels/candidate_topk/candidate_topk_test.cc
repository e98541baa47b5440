// The selection among candidates against its definition, and against the selection of a whole matrix where everything
// is a candidate: cold, and with every kind of guess, on both targets.

#include "kernels/candidate_topk/candidate_topk.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/simd.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint64_t kSeed = 41;

struct Draw {
  const char* name;
  float (*value)(Rng&, int row, int col);
};

const Draw kDraws[] = {
    {"normal", [](Rng& rng, int, int) { return rng.Normal(); }},
    // Some units lie below the threshold as a whole, so that min alive decides there.
    {"unit_scales",
     [](Rng& rng, int r, int c) { return rng.Normal() * static_cast<float>((1 + r % 7) * (1 + c % 5)); }},
    {"few_strong_units", [](Rng& rng, int r, int c) { return rng.Normal() * (r % 9 && c % 9 ? 1e-3f : 1.0f); }},
    {"three_values", [](Rng& rng, int, int) { return static_cast<float>(rng.Below(3)) - 1.0f; }},
    // As after a refresh that follows a step: most of the reserve is exactly zero.
    {"mostly_zero", [](Rng& rng, int, int) { return rng.Below(50) ? 0.0f : rng.Normal(); }},
    {"all_zero", [](Rng& rng, int, int) { return rng.Below(2) ? 0.0f : -0.0f; }},
    {"all_equal", [](Rng& rng, int, int) { return rng.Below(2) ? 0.25f : -0.25f; }},
    {"subnormal", [](Rng& rng, int, int) { return rng.Normal() * 1e-42f; }},
    {"infinity", [](Rng& rng, int, int) { return rng.Below(4) ? rng.Normal() : -kInfinity; }},
    {"mostly_nan", [](Rng& rng, int, int) { return rng.Below(4) ? -kNan : rng.Normal(); }},
    {"random_bits",
     [](Rng& rng, int, int) { return std::bit_cast<float>(static_cast<uint32_t>(rng.Below(0xffffffffu))); }},
};

Pattern RandomPattern(int rows, int cols, double density, Rng& rng) {
  Bitmap bits((static_cast<size_t>(rows) * cols + 63) / 64);
  for (int64_t i = 0; i < int64_t{rows} * cols; ++i) {
    // Some rows are empty and some full.
    const int64_t r = i / cols;
    const double here = r % 7 == 3 ? 0.0 : r % 7 == 5 ? 1.0 : density;
    if (rng.Uniform() < here) bits[i / 64] |= uint64_t{1} << (i % 64);
  }
  return Pattern::FromDenseBitmap(rows, cols, bits.data());
}

std::vector<float> Fill(const Draw& draw, const PatternView& pattern, Rng& rng) {
  std::vector<float> w;
  w.reserve(pattern.nnz());
  for (int r = 0; r < pattern.rows; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      w.push_back(draw.value(rng, r, pattern.col_indices[e]));
    }
  }
  return w;
}

Bitmap Filled(int64_t n) { return Bitmap((n + 63) / 64, 0x5555555555555555u); }

// The entries that step 1 keeps.
int64_t Minimum(const PatternView& pattern, int min_alive, Unit unit) {
  std::vector<int64_t> sizes(unit == Unit::kRow ? pattern.rows : unit == Unit::kColumn ? pattern.cols : 0);
  for (int r = 0; r < pattern.rows && !sizes.empty(); ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      ++sizes[unit == Unit::kRow ? r : pattern.col_indices[e]];
    }
  }
  int64_t sum = 0;
  for (const int64_t size : sizes) sum += std::min<int64_t>(size, min_alive);
  return sum;
}

// The least magnitude that step 2 keeps, from the definition; 0 if it keeps none.
float Least(const PatternView& pattern, const std::vector<float>& w, CandidateSelection s, const Bitmap& kept) {
  const int64_t minimum = Minimum(pattern, s.min_alive, s.unit);
  if (s.k == minimum || s.k == pattern.nnz()) return 0;
  Bitmap first = Filled(pattern.nnz());
  s.k = minimum;
  ref::SelectCandidates(pattern, w.data(), s, first.data());
  uint32_t least = 0x7fffffff;
  for (int64_t e = 0; e < pattern.nnz(); ++e) {
    if ((kept[e / 64] & ~first[e / 64]) >> (e % 64) & 1) {
      least = std::min(least, std::bit_cast<uint32_t>(w[e]) & 0x7fffffff);
    }
  }
  return std::bit_cast<float>(least);
}

std::vector<WeightThreshold> Guesses(float threshold) {
  std::vector<WeightThreshold> guesses(1);
  for (const float expected : {threshold, threshold * 1.01f, threshold * 0.97f, threshold * 3, threshold / 3, kNan,
                               kInfinity, -1.0f, 1e-45f, 3e38f}) {
    for (const float spread : {1e-3f, 0.9f, 2.0f, kNan}) {
      WeightThreshold guess;
      guess.value = guess.expected = expected;
      guess.spread = spread;
      guess.unit_bounds = {1, 2, 3};
      guesses.push_back(guess);
    }
  }
  return guesses;
}

// In pieces, the last one first; without the first piece where not all are wanted.
void ReadInPieces(const std::vector<float>& w, bool all, CandidateScan& scan) {
  constexpr int64_t kPieces[] = {64, 192, 1024};
  std::vector<std::pair<int64_t, int64_t>> pieces;
  const auto n = std::ssize(w);
  for (int64_t begin = 0; begin < n; begin += pieces.back().second) {
    pieces.emplace_back(begin, std::min(kPieces[pieces.size() % 3], n - begin));
  }
  for (size_t i = pieces.size(); i-- > (all ? 0 : 1);) scan.Read(w.data(), pieces[i].first, pieces[i].second);
}

// Without a guess, with every kind of guess, with the guess of the call before, and with a scan of all or of a part.
void ExpectSelects(const PatternView& pattern, const std::vector<float>& w, const CandidateSelection& s) {
  SCOPED_TRACE("seed " + std::to_string(kSeed) + ", " + std::to_string(pattern.rows) + " x " +
               std::to_string(pattern.cols) + ", " + std::to_string(pattern.nnz()) + " candidates, k " +
               std::to_string(s.k) + ", min alive " + std::to_string(s.min_alive) + " of units " +
               std::to_string(static_cast<int>(s.unit)));
  Bitmap expected = Filled(pattern.nnz());
  ref::SelectCandidates(pattern, w.data(), s, expected.data());
  const float least = Least(pattern, w, s, expected);
  Bitmap got = Filled(pattern.nnz());
  SelectCandidates(pattern, w.data(), s, nullptr, got.data());
  ASSERT_EQ(got, expected) << "no guess";
  for (WeightThreshold guess : Guesses(least)) {
    SCOPED_TRACE("guess " + std::to_string(guess.expected) + " +- " + std::to_string(guess.spread));
    for (const char* call : {"given", "own"}) {
      got = Filled(pattern.nnz());
      SelectCandidates(pattern, w.data(), s, &guess, got.data());
      ASSERT_EQ(got, expected) << call << " guess";
      ASSERT_EQ(std::bit_cast<uint32_t>(guess.value), std::bit_cast<uint32_t>(least)) << call << " guess";
    }
    for (const bool all : {true, false}) {
      WeightThreshold scanned = guess;
      CandidateScan scan;
      got = Filled(pattern.nnz());
      scan.Begin(pattern.nnz(), scanned, got.data());
      ReadInPieces(w, all, scan);
      SelectCandidates(pattern, w.data(), s, &scanned, got.data(), &scan);
      ASSERT_EQ(got, expected) << (all ? "scanned" : "scanned in part");
      ASSERT_EQ(std::bit_cast<uint32_t>(scanned.value), std::bit_cast<uint32_t>(least));
    }
  }
}

class CandidateTopKDraws : public testing::TestWithParam<Draw> {};

TEST_P(CandidateTopKDraws, KeepsExactlyTheCandidatesOfTheDefinition) {
  Rng rng(kSeed);
  const int shapes[][2] = {{1, 1}, {1, 70}, {70, 1}, {3, 5}, {17, 65}, {70, 63}, {64, 130}};
  for (const auto& [rows, cols] : shapes) {
    for (const double density : {0.05, 0.4}) {
      const Pattern pattern = RandomPattern(rows, cols, density, rng);
      const std::vector<float> w = Fill(GetParam(), pattern.view(), rng);
      for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
        for (const int min_alive : {0, 1, 4, 100}) {
          const int64_t least = Minimum(pattern.view(), min_alive, unit), nnz = pattern.nnz();
          for (const int64_t k : {int64_t{0}, least, least + 1, least + (nnz - least) / 4, nnz - 1, nnz}) {
            if (k < least || k > nnz) continue;
            ExpectSelects(pattern.view(), w, {k, min_alive, unit});
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// A large set, so that windows hold few of many and the sample is one.
TEST_P(CandidateTopKDraws, LargeSets) {
  Rng rng(kSeed + 1);
  const Pattern pattern = RandomPattern(301, 517, 0.1, rng);
  const std::vector<float> w = Fill(GetParam(), pattern.view(), rng);
  for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
    for (const bool restricted : {false, true}) {
      RestrictSimdToAvx2(restricted);
      ExpectSelects(pattern.view(), w, {pattern.nnz() / 4, 4, unit});
      RestrictSimdToAvx2(false);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CandidateTopKDraws, EverythingIsTheSelectionOfTheMatrix) {
  Rng rng(kSeed + 2);
  ThreadPool pool(2);
  for (const auto& [rows, cols] : {std::pair{37, 67}, {128, 64}, {5, 300}}) {
    const Pattern full = Pattern::Full(rows, cols);
    const std::vector<float> w = Fill(GetParam(), full.view(), rng);
    for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
      const int64_t k = int64_t{rows} * cols / 16;
      const int64_t units = unit == Unit::kRow ? rows : unit == Unit::kColumn ? cols : 1;
      const int alive = unit == Unit::kNone ? 0 : static_cast<int>(std::min<int64_t>(3, k / units));
      Bitmap whole = Filled(full.nnz()), got = whole;
      SelectWeights(w.data(), {rows, cols, k, alive, unit}, nullptr, pool, whole.data());
      SelectCandidates(full.view(), w.data(), {k, alive, unit}, nullptr, got.data());
      EXPECT_EQ(got, whole) << rows << " x " << cols << ", unit " << static_cast<int>(unit);
    }
  }
}

// As the weights have changed since, the mask shows what it was chosen by.
TEST(CandidateTopK, AfterAScanTheWeightsAreNotReadAgain) {
  Rng rng(kSeed + 3);
  const Pattern pattern = RandomPattern(64, 64, 0.3, rng);
  const std::vector<float> w = Fill(kDraws[0], pattern.view(), rng), other(w.rbegin(), w.rend());
  const CandidateSelection selection = {pattern.nnz() / 4, 0, Unit::kNone};
  WeightThreshold guess;
  Bitmap expected = Filled(pattern.nnz()), got = expected;
  SelectCandidates(pattern.view(), w.data(), selection, &guess, expected.data());
  CandidateScan scan;
  scan.Begin(pattern.nnz(), guess, got.data());
  ReadInPieces(w, true, scan);
  SelectCandidates(pattern.view(), other.data(), selection, &guess, got.data(), &scan);
  EXPECT_EQ(got, expected);
  Bitmap anew = Filled(pattern.nnz());
  scan.End();
  SelectCandidates(pattern.view(), other.data(), selection, &guess, anew.data(), &scan);
  EXPECT_NE(anew, expected);
}

INSTANTIATE_TEST_SUITE_P(All, CandidateTopKDraws, testing::ValuesIn(kDraws),
                         [](const auto& info) { return std::string(info.param.name); });

// The guess follows a threshold that moves, and stays narrow.
TEST(CandidateTopK, GuessFollowsTheThreshold) {
  Rng rng(kSeed + 3);
  const Pattern pattern = RandomPattern(200, 300, 0.2, rng);
  std::vector<float> w = Fill(kDraws[0], pattern.view(), rng);
  WeightThreshold threshold;
  for (int step = 0; step < 20; ++step) {
    const CandidateSelection s = {pattern.nnz() / 4 - step * 10, 2, Unit::kRow};
    Bitmap expected = Filled(pattern.nnz()), got = expected;
    ref::SelectCandidates(pattern.view(), w.data(), s, expected.data());
    SelectCandidates(pattern.view(), w.data(), s, &threshold, got.data());
    ASSERT_EQ(got, expected) << "step " << step;
    for (float& x : w) x += 1e-3f * rng.Normal();
  }
  EXPECT_NEAR(threshold.expected, threshold.value, 0.02f * threshold.value);
  EXPECT_LT(threshold.spread, 1.0f / 16);
}

TEST(CandidateTopK, AppliesFactorAndMask) {
  Rng rng(kSeed + 4);
  for (const int n : {0, 1, 63, 64, 65, 1000}) {
    for (const float factor : {1.0f, 0.75f}) {
      std::vector<float> w(n);
      for (float& x : w) x = rng.Normal();
      Bitmap kept((n + 63) / 64);
      for (int i = 0; i < n; ++i) kept[i / 64] |= rng.Below(2) << (i % 64);
      std::vector<float> expected = w;
      ref::ApplySelection(kept.data(), n, factor, expected.data());
      ApplyCandidateSelection(kept.data(), n, factor, w.data());
      EXPECT_TRUE(n == 0 || std::memcmp(w.data(), expected.data(), n * sizeof(float)) == 0) << n << " x " << factor;
    }
  }
}

TEST(CandidateTopKDeathTest, RefusesWhatCannotBeMet) {
  const Pattern full = Pattern::Full(4, 5);
  const std::vector<float> w(20, 1.0f);
  uint64_t kept = 0;
  EXPECT_DEATH(SelectCandidates(full.view(), w.data(), {21, 0, Unit::kNone}, nullptr, &kept), "k = 21 of 20");
  EXPECT_DEATH(SelectCandidates(full.view(), w.data(), {7, 2, Unit::kRow}, nullptr, &kept), "more than k = 7");
}

}  // namespace
}  // namespace filigree::kernels
