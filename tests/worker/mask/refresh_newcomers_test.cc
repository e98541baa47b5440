// Who comes into a candidate set at a refresh: by chance and its weights, by a ranking, into lines that are short.
// Chi-square bounds fail for one seed in a million, and the seeds are fixed.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/tiles.h"
#include "tests/worker/mask/chi_square.h"
#include "tests/worker/mask/refresh_state.h"
#include "worker/mask/newcomers.h"
#include "worker/mask/refresh.h"

namespace filigree::mask {
namespace {

using kernels::Unit;

TEST(Refresh, TheSizeIsMetWhateverTheWeights) {
  Rng rng(kSeed + 1);
  const int rows = 37, cols = 70;
  const State state(rows, cols, 0.2, 0.3, rng);
  struct Weights {
    const char* name;
    float (*of)(int i, Rng& rng);
  };
  const Weights kinds[] = {
      {"zero", [](int, Rng&) { return 0.0f; }},
      {"nan", [](int, Rng&) { return kNan; }},
      {"mixed", [](int i, Rng& rng) { return i % 5 == 0   ? kNan
                                             : i % 7 == 0 ? kInfinity
                                                          : std::abs(rng.Normal()); }},
      {"one", [](int i, Rng&) { return i == 9 ? 1.0f : 0.0f; }},
      {"negative", [](int, Rng&) { return -1.0f; }},
      {"steep", [](int i, Rng&) { return std::exp(-2.0f * static_cast<float>(i)); }},
      {"largest", [](int, Rng&) { return 3e38f; }},
  };
  for (const Weights& of_rows : kinds) {
    for (const Weights& of_columns : kinds) {
      std::vector<float> row_weight(rows), col_weight(cols);
      for (int r = 0; r < rows; ++r) row_weight[r] = of_rows.of(r, rng);
      for (int c = 0; c < cols; ++c) col_weight[c] = of_columns.of(c, rng);
      for (const int64_t candidates : {state.pattern.nnz(), int64_t{rows} * cols - 3}) {
        SCOPED_TRACE(std::string(of_rows.name) + " x " + of_columns.name + ", " + std::to_string(candidates));
        RefreshInput input = state.Input(candidates);
        input.row_weight = row_weight.data();
        input.col_weight = col_weight.data();
        ExpectRefreshes(input);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// One newcomer at many steps: exactly in proportion to row weight times column weight over what is free.
TEST(Refresh, ANewcomerFollowsTheWeights) {
  Rng rng(kSeed + 4);
  const int rows = 7, cols = 9;
  const State state(rows, cols, 0.4, 1.0, rng);
  std::vector<float> row_weight(rows), col_weight(cols);
  for (float& x : row_weight) x = std::abs(rng.Normal());
  for (float& x : col_weight) x = std::abs(rng.Normal());
  for (const bool weighted : {true, false}) {
    RefreshInput input = state.Input(state.k + 1);
    input.drop = 1;
    if (weighted) input.row_weight = row_weight.data(), input.col_weight = col_weight.data();
    std::vector<double> probability(rows * cols);
    for (int i = 0; i < rows * cols; ++i) probability[i] = weighted ? row_weight[i / cols] * col_weight[i % cols] : 1;
    for (const uint32_t i : Positions(input.pattern)) probability[i] = 0;
    const double total = std::accumulate(probability.begin(), probability.end(), 0.0);
    for (double& p : probability) p /= total;
    std::vector<int64_t> seen(rows * cols);
    for (int64_t step = 0; step < 20000; ++step) {
      input.step = step;
      ++seen[Newcomers(Refresh(input, PoolOf(1)))[0]];
    }
    const int degrees = rows * cols - static_cast<int>(state.pattern.nnz()) - 1;
    EXPECT_LT(ChiSquare(seen, probability), ChiSquareBound(degrees)) << "weighted " << weighted;
  }
}

// Without weights every free position is as likely as another, however many are drawn; that they are drawn without
// replacement only makes the statistic smaller.
TEST(Refresh, ManyNewcomersAreUniformWithoutWeights) {
  Rng rng(kSeed + 5);
  const int rows = 12, cols = 20;
  const State state(rows, cols, 0.3, 1.0, rng);
  RefreshInput input = state.Input(state.k + 40);
  std::vector<double> probability(rows * cols, 1.0 / static_cast<double>(rows * cols - state.k));
  for (const uint32_t i : Positions(input.pattern)) probability[i] = 0;
  std::vector<int64_t> seen(rows * cols);
  for (int64_t step = 0; step < 2000; ++step) {
    input.step = step;
    for (const uint32_t i : Newcomers(Refresh(input, PoolOf(1)))) ++seen[i];
  }
  EXPECT_LT(ChiSquare(seen, probability), ChiSquareBound(rows * cols - static_cast<int>(state.k) - 1));
}

TEST(Refresh, StepStreamAndSeedAllChangeTheDraw) {
  Rng rng(kSeed + 6);
  const State state(40, 70, 0.2, 0.3, rng);
  const RefreshInput input = state.Input(state.pattern.nnz());
  RefreshInput step = input, stream = input, seed = input;
  ++step.step;
  ++stream.stream;
  ++seed.seed;
  const Membership base = Refresh(input, PoolOf(1));
  EXPECT_TRUE(Same(Refresh(input, PoolOf(1)), base));
  for (const RefreshInput& other : {step, stream, seed}) EXPECT_FALSE(Same(Refresh(other, PoolOf(1)), base));
}

TEST(Refresh, RowsDrawApart) {
  const int rows = 40, cols = 70;
  const Pattern none(rows, cols, 0);
  RefreshInput input;
  input.pattern = none.view();
  input.candidates = rows * 8;
  const Membership next = Refresh(input, PoolOf(1));
  std::set<std::vector<uint16_t>> seen;
  const PatternView p = next.pattern.view();
  for (int r = 0; r < rows; ++r) {
    EXPECT_EQ(p.row_offsets[r + 1] - p.row_offsets[r], 8) << r;
    seen.emplace(p.col_indices + p.row_offsets[r], p.col_indices + p.row_offsets[r + 1]);
  }
  EXPECT_EQ(seen.size(), rows);
}

// The oracle: of those who do not stay, the largest gradients.
TEST(Refresh, RankedPositionsComeFirstInTheirOrder) {
  Rng rng(kSeed + 7);
  const int rows = 31, cols = 65;
  const State state(rows, cols, 0.2, 0.3, rng);
  std::vector<float> gradient(rows * cols);
  for (float& x : gradient) x = std::round(rng.Normal() * 16);
  RefreshInput input = state.Input(state.pattern.nnz());
  const std::vector<uint32_t> ranked =
      RankByMagnitude(gradient.data(), int64_t{rows} * cols, input.candidates, PoolOf(2));
  input.ranked = ranked;
  const std::vector<uint32_t> staying = ExpectedStaying(input), old = Positions(input.pattern);
  std::vector<uint32_t> expected;
  for (const uint32_t i : ranked) {
    const auto stays = [&](uint32_t e) { return old[e] == i; };
    if (expected.size() + staying.size() == static_cast<size_t>(input.candidates)) break;
    if (std::none_of(staying.begin(), staying.end(), stays)) expected.push_back(i);
  }
  std::sort(expected.begin(), expected.end());
  ExpectRefreshes(input);
  EXPECT_EQ(Newcomers(Refresh(input, PoolOf(1))), expected);

  // A short ranking: the rest is drawn.
  input.ranked = std::span(ranked).first(40);
  ExpectRefreshes(input);
  const std::vector<uint32_t> newcomers = Newcomers(Refresh(input, PoolOf(1)));
  for (const uint32_t i : expected) {
    if (std::find(ranked.begin(), ranked.begin() + 40, i) == ranked.begin() + 40) continue;
    EXPECT_TRUE(std::binary_search(newcomers.begin(), newcomers.end(), i)) << i;
  }
}

struct Sizes {
  std::vector<int> all, reserve;
};

Sizes SizesOf(const RefreshInput& input, const Membership& next, Unit direction) {
  const PatternView p = next.pattern.view();
  Sizes sizes;
  sizes.all.resize(direction == Unit::kRow ? p.rows : p.cols);
  sizes.reserve = sizes.all;
  for (int r = 0; r < p.rows; ++r) {
    for (uint32_t e = p.row_offsets[r]; e < p.row_offsets[r + 1]; ++e) {
      const int line = direction == Unit::kRow ? r : p.col_indices[e];
      ++sizes.all[line];
      sizes.reserve[line] += next.source[e] == kNewcomer || !IsKept(input.kept, next.source[e]);
    }
  }
  return sizes;
}

// Before a refresh.
Sizes SizesOf(const State& state, Unit direction) {
  Membership same;
  same.pattern = Pattern::Subset(state.pattern.view(), Bitmap(state.kept.size(), ~uint64_t{0}).data());
  same.source = kernels::Buffer<uint32_t>(state.pattern.nnz());
  std::iota(same.source.begin(), same.source.end(), 0);
  return SizesOf(state.Input(0), same, direction);
}

// All stay, and there are as many newcomers as units lack candidates.
TEST(Refresh, EveryUnitHasItsCandidates) {
  Rng rng(kSeed + 8);
  for (const Unit unit : {Unit::kRow, Unit::kColumn}) {
    const State state(40, 70, 0.06, 0.5, rng);
    int64_t missing = 0;
    for (const int has : SizesOf(state, unit).all) missing += std::max(0, 6 - has);
    ASSERT_GT(missing, 4);
    RefreshInput input = state.Input(state.pattern.nnz() + missing);
    input.drop = 0;
    input.unit = unit;
    input.unit_candidates = 6;
    ExpectRefreshes(input);
    const Sizes sizes = SizesOf(input, Refresh(input, PoolOf(1)), unit);
    EXPECT_EQ(*std::min_element(sizes.all.begin(), sizes.all.end()), 6);
  }
}

TEST(Refresh, EveryLineHasItsReserve) {
  Rng rng(kSeed + 9);
  const State state(40, 70, 0.06, 0.5, rng);
  int64_t missing = 0;  // counted twice where a row and a column are short
  for (const Unit direction : {Unit::kRow, Unit::kColumn}) {
    for (const int has : SizesOf(state, direction).reserve) missing += std::max(0, 3 - has);
  }
  RefreshInput input = state.Input(state.pattern.nnz() + missing);
  input.drop = 0;
  std::vector<float> row_weight(40);
  row_weight[1] = 1;
  input.row_weight = row_weight.data();
  input.line_reserve = 3;
  ExpectRefreshes(input);
  const Membership next = Refresh(input, PoolOf(1));
  for (const Unit direction : {Unit::kRow, Unit::kColumn}) {
    const std::vector<int> reserve = SizesOf(input, next, direction).reserve;
    EXPECT_GE(*std::min_element(reserve.begin(), reserve.end()), 3);
  }
  // Where the newcomers do not reach: as many as there are, and no more.
  input.line_reserve = 1000;
  ExpectRefreshes(input);
}

// Just enough newcomers for the short lines show who these are; a ranking that names them, those who stay and then
// others changes none of them, and only the others come after them.
TEST(Refresh, ShortLinesComeBeforeRankedPositions) {
  Rng rng(kSeed + 13);
  const int rows = 40, cols = 70;
  for (const Unit unit : {Unit::kRow, Unit::kColumn}) {
    const State state(rows, cols, 0.06, 0.5, rng);
    int64_t missing = 0;
    for (const int has : SizesOf(state, unit).all) missing += std::max(0, 6 - has);
    ASSERT_GT(missing, 4);
    RefreshInput input = state.Input(state.pattern.nnz() + missing);
    input.drop = 0;
    input.unit = unit;
    input.unit_candidates = 6;
    const std::vector<uint32_t> lines = Newcomers(Refresh(input, PoolOf(1))), old = Positions(input.pattern);
    std::vector<uint32_t> ranked = lines;
    ranked.insert(ranked.end(), old.begin(), old.end());
    std::vector<uint32_t> others;
    for (uint32_t i = 0; i < static_cast<uint32_t>(rows * cols); ++i) {
      const auto named = [&](const std::vector<uint32_t>& in) { return std::binary_search(in.begin(), in.end(), i); };
      if (!named(lines) && !named(old)) others.push_back(i);
    }
    for (size_t i = others.size(); i > 1; --i) std::swap(others[i - 1], others[rng.Below(static_cast<int>(i))]);
    ranked.insert(ranked.end(), others.begin(), others.begin() + 50);
    input.ranked = ranked;

    // Just enough for the lines: nothing of the ranking comes, not even where it would be as good.
    EXPECT_EQ(Newcomers(Refresh(input, PoolOf(1))), lines);
    // Thirty more: the ranking's first that are free. Sixty more: ten are drawn after them.
    for (const int64_t more : {30, 60}) {
      input.candidates = state.pattern.nnz() + missing + more;
      ExpectRefreshes(input);
      const std::vector<uint32_t> newcomers = Newcomers(Refresh(input, PoolOf(1)));
      std::vector<uint32_t> expected = lines;
      expected.insert(expected.end(), others.begin(), others.begin() + std::min<int64_t>(more, 50));
      std::sort(expected.begin(), expected.end());
      EXPECT_TRUE(std::includes(newcomers.begin(), newcomers.end(), expected.begin(), expected.end())) << more;
      EXPECT_EQ(std::ssize(newcomers), missing + more);
    }
  }
}

}  // namespace
}  // namespace filigree::mask
