// The weight selection against its definition: cold, warm with every kind of guess, any number of threads, both
// targets.

#include "kernels/weight_topk/weight_topk.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/simd.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// How weights are drawn: each draw breaks something different. `unit` is the row and the column.
struct Draw {
  const char* name;
  float (*value)(Rng&, int64_t row, int64_t col);
};

const Draw kDraws[] = {
    {"normal", [](Rng& rng, int64_t, int64_t) { return rng.Normal(); }},
    // Some units are all below the threshold, so that min alive decides there.
    {"unit_scales",
     [](Rng& rng, int64_t r, int64_t c) { return rng.Normal() * static_cast<float>((1 + r % 7) * (1 + c % 5)); }},
    {"few_strong_units", [](Rng& rng, int64_t r, int64_t c) { return rng.Normal() * (r % 9 && c % 9 ? 1e-3f : 1.0f); }},
    {"three_values", [](Rng& rng, int64_t, int64_t) { return static_cast<float>(rng.Below(3)) - 1.0f; }},
    {"rounded", [](Rng& rng, int64_t, int64_t) { return std::round(rng.Normal() * 8) / 8; }},
    {"subnormal", [](Rng& rng, int64_t, int64_t) { return rng.Normal() * 1e-42f; }},
    {"nan", [](Rng& rng, int64_t, int64_t) { return rng.Below(30) ? rng.Normal() : kNan; }},
    {"mostly_nan", [](Rng& rng, int64_t, int64_t) { return rng.Below(4) ? -kNan : rng.Normal(); }},
    {"infinity", [](Rng& rng, int64_t, int64_t) { return rng.Below(4) ? rng.Normal() : -kInfinity; }},
    {"all_equal", [](Rng& rng, int64_t, int64_t) { return rng.Below(2) ? 0.25f : -0.25f; }},
    {"all_zero", [](Rng& rng, int64_t, int64_t) { return rng.Below(2) ? 0.0f : -0.0f; }},
    {"mostly_zero", [](Rng& rng, int64_t, int64_t) { return rng.Below(50) ? 0.0f : rng.Normal(); }},
    {"dead_units", [](Rng& rng, int64_t r, int64_t c) { return r % 5 && c % 3 ? rng.Normal() : 0.0f; }},
    {"random_bits",
     [](Rng& rng, int64_t, int64_t) { return std::bit_cast<float>(static_cast<uint32_t>(rng.Below(0xffffffffu))); }},
};

std::vector<float> Fill(const Draw& draw, Rng& rng, int64_t rows, int64_t cols) {
  std::vector<float> w(rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) w[i] = draw.value(rng, i / cols, i % cols);
  return w;
}

Bitmap Filled(const WeightSelection& s) { return Bitmap((s.rows * s.cols + 63) / 64, 0x5555555555555555u); }

ThreadPool& PoolOf(int threads) {
  static std::unique_ptr<ThreadPool> pools[5];
  if (!pools[threads]) pools[threads] = std::make_unique<ThreadPool>(threads);
  return *pools[threads];
}

// The magnitude of the smallest entry that step 2 keeps, from the definition.
float SmallestByRank(const std::vector<float>& w, const WeightSelection& s, const Bitmap& kept) {
  WeightSelection only_units = s;
  const int64_t units = s.unit == Unit::kRow ? s.rows : s.unit == Unit::kColumn ? s.cols : 0;
  only_units.k = units * std::min<int64_t>(s.min_alive, s.unit == Unit::kRow ? s.cols : s.rows);
  if (only_units.k == s.k || s.k == s.rows * s.cols) return 0;
  Bitmap first = Filled(s);
  ref::SelectWeights(w.data(), only_units, first.data());
  uint32_t least = 0x7fffffff;
  for (int64_t i = 0; i < s.rows * s.cols; ++i) {
    if ((kept[i / 64] & ~first[i / 64]) >> (i % 64) & 1) {
      least = std::min(least, std::bit_cast<uint32_t>(w[i]) & 0x7fffffff);
    }
  }
  return std::bit_cast<float>(least);
}

std::string Describe(const WeightSelection& s) {
  const char* units = s.unit == Unit::kRow ? "rows" : s.unit == Unit::kColumn ? "columns" : "no units";
  return std::to_string(s.rows) + " x " + std::to_string(s.cols) + ", k " + std::to_string(s.k) + ", min alive " +
         std::to_string(s.min_alive) + " of " + units;
}

// What the definition says; computed once for many guesses, as it sorts everything.
struct Expected {
  Expected(const std::vector<float>& w, const WeightSelection& s) : kept(Filled(s)) {
    ref::SelectWeights(w.data(), s, kept.data());
    smallest = SmallestByRank(w, s, kept);
  }
  Bitmap kept;
  float smallest;
};

// With the guess as given, with what that call leaves, and without any.
void ExpectSelects(const std::vector<float>& w, const WeightSelection& s, const Expected& expected,
                   const WeightThreshold& guess, const std::vector<int>& threads) {
  SCOPED_TRACE(Describe(s) + ", guess " + std::to_string(guess.expected));
  for (const bool restricted : {false, true}) {
    RestrictSimdToAvx2(restricted);
    for (const int n : threads) {
      SCOPED_TRACE(SimdTargetName() + ", " + std::to_string(n) + " threads");
      Bitmap got = Filled(s);
      SelectWeights(w.data(), s, nullptr, PoolOf(n), got.data());
      EXPECT_EQ(got, expected.kept) << "no guess";
      WeightThreshold threshold = guess;
      for (const char* call : {"given", "own"}) {
        got = Filled(s);
        SelectWeights(w.data(), s, &threshold, PoolOf(n), got.data());
        ASSERT_EQ(got, expected.kept) << call << " guess";
        ASSERT_EQ(std::bit_cast<uint32_t>(threshold.value), std::bit_cast<uint32_t>(expected.smallest))
            << call << " guess";
      }
    }
  }
  RestrictSimdToAvx2(false);
}

class WeightTopKDraws : public testing::TestWithParam<Draw> {};

TEST_P(WeightTopKDraws, KeepsExactlyTheEntriesOfTheDefinition) {
  Rng rng(/*seed=*/11);
  const int64_t shapes[][2] = {{1, 1}, {1, 70}, {70, 1}, {3, 5}, {17, 65}, {64, 130}, {70, 63}, {24, 256}};
  for (const auto& [rows, cols] : shapes) {
    const std::vector<float> w = Fill(GetParam(), rng, rows, cols);
    for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
      for (const int min_alive : {0, 1, 4, 100}) {
        if (unit == Unit::kNone && min_alive > 0) continue;  // means nothing
        const int64_t units = unit == Unit::kRow ? rows : unit == Unit::kColumn ? cols : 0;
        const int64_t least = units * std::min<int64_t>(min_alive, unit == Unit::kRow ? cols : rows);
        const int64_t numel = rows * cols;
        for (const int64_t k : {int64_t{0}, least, least + 1, least + (numel - least) / 20, numel - 1, numel}) {
          if (k < least || k > numel) continue;
          const WeightSelection s = {rows, cols, k, min_alive, unit};
          ExpectSelects(w, s, Expected(w, s), WeightThreshold(), {rows == 64 ? 4 : 1});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(WeightTopKDraws, AnyGuessGivesTheSame) {
  Rng rng(/*seed=*/12);
  const int64_t rows = 40, cols = 192;
  const std::vector<float> w = Fill(GetParam(), rng, rows, cols);
  for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
    const WeightSelection s = {rows, cols, rows * cols / 8, unit == Unit::kNone ? 0 : 4, unit};
    const int64_t units = unit == Unit::kRow ? rows : unit == Unit::kColumn ? cols : 0;
    WeightThreshold found;
    Bitmap kept = Filled(s);
    SelectWeights(w.data(), s, &found, PoolOf(1), kept.data());
    const Expected want(w, s);
    for (const float expected :
         {0.0f, found.value, 1.001f * found.value, 0.5f, 1e-45f, 1e-30f, 1e38f, kInfinity, kNan}) {
      for (const float spread : {0.002f, 0.5f}) {
        ExpectSelects(w, s, want, {found.value, expected, spread, found.unit_bounds}, {2});
        if (HasFatalFailure()) return;
      }
    }
    // Bounds: none at all, all much too high, all zero, nonsense, and of another matrix.
    for (const std::vector<int32_t>& bounds :
         {std::vector<int32_t>(units, 0x7fffffff), std::vector<int32_t>(units, 0x7f000000),
          std::vector<int32_t>(units, 0), std::vector<int32_t>(units, -0x7fffffff - 1), std::vector<int32_t>(3, 1)}) {
      ExpectSelects(w, s, want, {found.value, found.value, kNan, bounds}, {1});
      ExpectSelects(w, s, want, {found.value, found.value, 0.01f, bounds}, {4});
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Draws, WeightTopKDraws, testing::ValuesIn(kDraws),
                         [](const auto& info) { return info.param.name; });

// A training run in small: weights move, unselected ones start again from zero, the density falls, the guess is handed
// on.
TEST(SelectWeights, FollowsAnAnnealStepByStep) {
  const uint64_t seed = 20240608;
  RecordProperty("seed", std::to_string(seed));
  Rng rng(seed);
  for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
    const int64_t rows = 96, cols = 192, numel = rows * cols;
    std::vector<float> w = Fill(kDraws[1], rng, rows, cols);
    WeightThreshold threshold;
    for (int step = 0; step < 40; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      const double density = std::max(1 - step / 20.0, 1.0 / 32);
      const WeightSelection s = {rows, cols, static_cast<int64_t>(density * numel), unit == Unit::kNone ? 0 : 2, unit};
      const Expected want(w, s);
      if (step % 10 == 1) {
        ExpectSelects(w, s, want, threshold, {1, 2, 4});
        if (HasFatalFailure()) return;
      }
      Bitmap kept = Filled(s);
      SelectWeights(w.data(), s, &threshold, PoolOf(1 + step % 4), kept.data());
      ASSERT_EQ(kept, want.kept);
      ApplySelection(kept.data(), numel, 1 - 1e-3f, PoolOf(2), w.data());
      for (float& x : w) x += 0.01f * rng.Normal();
    }
  }
}

TEST(SelectWeights, RandomMatricesWithTheGuessOfTheMatrixBefore) {
  const uint64_t seed = 20240609;
  RecordProperty("seed", std::to_string(seed));
  Rng rng(seed);
  WeightThreshold threshold;
  for (int round = 0; round < 120; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ", round " + std::to_string(round));
    const int64_t rows = 1 + static_cast<int64_t>(rng.Below(120)), cols = 1 + static_cast<int64_t>(rng.Below(250));
    const std::vector<float> w = Fill(kDraws[rng.Below(std::size(kDraws))], rng, rows, cols);
    WeightSelection s = {rows, cols, 0, static_cast<int>(rng.Below(9)), static_cast<Unit>(rng.Below(3))};
    const int64_t units = s.unit == Unit::kRow ? rows : s.unit == Unit::kColumn ? cols : 0;
    const int64_t least = units * std::min<int64_t>(s.min_alive, s.unit == Unit::kRow ? cols : rows);
    s.k = least + static_cast<int64_t>(rng.Below(rows * cols - least + 1));
    ExpectSelects(w, s, Expected(w, s), threshold, {1, 4});
    if (HasFatalFailure()) return;
    Bitmap kept = Filled(s);
    SelectWeights(w.data(), s, &threshold, PoolOf(1), kept.data());
  }
}

// Larger than a task of every pass, so that several are merged: 350,000 entries.
TEST(SelectWeights, SeveralTasks) {
  Rng rng(/*seed=*/13);
  for (const Draw& draw : {kDraws[1], kDraws[4], kDraws[10]}) {
    SCOPED_TRACE(draw.name);
    const int64_t rows = 500, cols = 700;
    std::vector<float> w = Fill(draw, rng, rows, cols);
    for (const Unit unit : {Unit::kRow, Unit::kColumn}) {
      const WeightSelection s = {rows, cols, rows * cols / 40, 4, unit};
      ExpectSelects(w, s, Expected(w, s), WeightThreshold(), {1, 4});
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ApplySelection, MultipliesKeptAndClearsOthers) {
  Rng rng(/*seed=*/14);
  for (const int64_t numel : {1, 63, 64, 65, 1000, 200000}) {
    const std::vector<float> w = Fill(kDraws[13], rng, 1, numel);
    Bitmap kept((numel + 63) / 64);
    for (uint64_t& word : kept) word = rng.Below(0xffffffffu) << 32 | rng.Below(0xffffffffu);
    for (const float factor : {1.0f, 0.999f}) {
      for (const bool restricted : {false, true}) {
        RestrictSimdToAvx2(restricted);
        for (const int threads : {1, 2, 4}) {
          std::vector<float> got = w;
          ApplySelection(kept.data(), numel, factor, PoolOf(threads), got.data());
          for (int64_t i = 0; i < numel; ++i) {
            const bool is_kept = kept[i / 64] >> (i % 64) & 1;
            const float want = is_kept ? (factor == 1.0f ? w[i] : w[i] * factor) : 0.0f;
            ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want)) << "entry " << i;
          }
        }
      }
    }
  }
  RestrictSimdToAvx2(false);
}

TEST(SelectWeightsDeathTest, RefusesMoreThanThereIs) {
  std::vector<float> w(12, 1.0f);
  Bitmap kept(1);
  ThreadPool pool(1);
  EXPECT_DEATH(SelectWeights(w.data(), {3, 4, 13, 0, Unit::kNone}, nullptr, pool, kept.data()), "k = 13");
  EXPECT_DEATH(SelectWeights(w.data(), {3, 4, 5, 2, Unit::kRow}, nullptr, pool, kept.data()), "more than k = 5");
}

}  // namespace
}  // namespace filigree::kernels
