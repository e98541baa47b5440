// Refreshes of candidate sets against the definition of who stays, for any weights and any number of threads, and what
// the newcomers are; chi-square bounds fail for one seed in a million, and the seeds are fixed.

#include "worker/mask/refresh.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/tiles.h"
#include "tests/worker/mask/chi_square.h"
#include "worker/mask/newcomers.h"

namespace filigree::mask {
namespace {

using kernels::IsKept;
using kernels::Pattern;
using kernels::PatternView;
using kernels::ThreadPool;
using kernels::Unit;
using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

constexpr uint64_t kSeed = 19;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

ThreadPool& PoolOf(int threads) {
  static std::unique_ptr<ThreadPool> pools[4];
  if (!pools[threads]) pools[threads] = std::make_unique<ThreadPool>(threads);
  return *pools[threads];
}

// A candidate set with moments and a mask.
struct State {
  State(int rows, int cols, double density, double masked, Rng& rng) {
    Bitmap bits((static_cast<size_t>(rows) * cols + 63) / 64);
    for (int64_t i = 0; i < int64_t{rows} * cols; ++i) {
      const int64_t r = i / cols;
      const double here = r % 11 == 3 ? 0.0 : r % 11 == 5 ? 1.0 : density;
      if (rng.Uniform() < here) kernels::Keep(i, bits.data());
    }
    pattern = Pattern::FromDenseBitmap(rows, cols, bits.data());
    const int64_t nnz = pattern.nnz();
    kept.resize((nnz + 63) / 64);
    for (int64_t e = 0; e < nnz; ++e) {
      if (rng.Uniform() < masked) {
        kernels::Keep(e, kept.data());
        ++k;
      }
      // Equal values are many: newcomers that saw no gradient, and rounded ones.
      m.push_back(rng.Below(3) ? std::round(4 * rng.Normal()) / 4 : rng.Normal());
      v.push_back(rng.Below(4) ? 0.25f : std::abs(rng.Normal()));
      if (rng.Below(40) == 0) m.back() = kNan;
      if (rng.Below(40) == 0) v.back() = rng.Below(2) ? -1.0f : kInfinity;
    }
  }

  RefreshInput Input(int64_t candidates) const {
    RefreshInput input;
    input.pattern = pattern.view();
    input.m = m.data();
    input.v = v.data();
    input.kept = kept.data();
    input.candidates = candidates;
    input.eps = 0.1;
    input.seed = kSeed;
    input.stream = 5;
    input.step = 30;
    return input;
  }

  Pattern pattern;
  std::vector<float> m, v;
  Bitmap kept;
  int64_t k = 0;
};

std::vector<uint32_t> Positions(const PatternView& pattern) {
  std::vector<uint32_t> positions;
  positions.reserve(pattern.nnz());
  for (int r = 0; r < pattern.rows; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      positions.push_back(static_cast<uint32_t>(r) * pattern.cols + pattern.col_indices[e]);
    }
  }
  return positions;
}

// Who stays, by sorting the reserve: entries, ascending.
std::vector<uint32_t> ExpectedStaying(const RefreshInput& input) {
  std::vector<uint32_t> staying, reserve;
  for (int64_t e = 0; e < input.pattern.nnz(); ++e) {
    (IsKept(input.kept, e) ? staying : reserve).push_back(static_cast<uint32_t>(e));
  }
  const auto u = [&](uint32_t e) {
    const float value = std::abs(input.m[e]) / (std::sqrt(input.v[e]) + static_cast<float>(input.eps));
    return std::isnan(value) ? -1.0f : value;
  };
  std::stable_sort(reserve.begin(), reserve.end(), [&](uint32_t a, uint32_t b) { return u(a) > u(b); });
  const double wanted = static_cast<double>(input.candidates) - static_cast<double>(staying.size());
  const auto most = static_cast<size_t>(std::floor((1 - input.drop) * wanted));
  reserve.resize(std::min(most, reserve.size()));
  staying.insert(staying.end(), reserve.begin(), reserve.end());
  std::sort(staying.begin(), staying.end());
  return staying;
}

// Newcomers of a membership: global indices.
std::vector<uint32_t> Newcomers(const Membership& next) {
  const std::vector<uint32_t> positions = Positions(next.pattern.view());
  std::vector<uint32_t> newcomers;
  for (size_t e = 0; e < positions.size(); ++e) {
    if (next.source[e] == kNewcomer) newcomers.push_back(positions[e]);
  }
  return newcomers;
}

// Sound, of the wanted size, and with those who stay, each at its position.
void ExpectMembership(const RefreshInput& input, const Membership& next, const std::vector<uint32_t>& staying) {
  ASSERT_TRUE(kernels::IsSound(next.pattern.view()));
  ASSERT_EQ(next.pattern.nnz(), input.candidates);
  ASSERT_EQ(next.source.size(), static_cast<size_t>(input.candidates));
  const std::vector<uint32_t> old = Positions(input.pattern), now = Positions(next.pattern.view());
  std::vector<uint32_t> sources;
  for (size_t e = 0; e < now.size(); ++e) {
    if (next.source[e] == kNewcomer) continue;
    sources.push_back(next.source[e]);
    ASSERT_EQ(now[e], old[next.source[e]]) << e;
  }
  ASSERT_EQ(sources, staying);
}

bool Same(const Membership& a, const Membership& b) {
  return Positions(a.pattern.view()) == Positions(b.pattern.view()) &&
         std::equal(a.source.begin(), a.source.end(), b.source.begin(), b.source.end());
}

void ExpectRefreshes(const RefreshInput& input) {
  const std::vector<uint32_t> staying = ExpectedStaying(input);
  const Membership one = Refresh(input, PoolOf(1));
  ExpectMembership(input, one, staying);
  for (const int threads : {2, 3}) EXPECT_TRUE(Same(Refresh(input, PoolOf(threads)), one)) << threads << " threads";
}

TEST(Refresh, TheBestStayAndTheSizeIsMet) {
  Rng rng(kSeed);
  const int shapes[][2] = {{1, 1}, {1, 70}, {70, 1}, {5, 3}, {33, 65}, {130, 64}, {67, 129}};
  for (const auto& [rows, cols] : shapes) {
    for (const double masked : {0.0, 0.25, 1.0}) {
      const State state(rows, cols, 0.2, masked, rng);
      const int64_t numel = int64_t{rows} * cols, nnz = state.pattern.nnz();
      for (const int64_t candidates : {state.k, (state.k + nnz) / 2, nnz, (nnz + numel) / 2, numel - 1}) {
        if (candidates < state.k) continue;
        for (const double drop : {0.0, 0.5, 0.3, 1.0}) {
          SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + ", " + std::to_string(candidates) +
                       " of " + std::to_string(nnz) + " candidates, k " + std::to_string(state.k) + ", drop " +
                       std::to_string(drop) + ", seed " + std::to_string(kSeed));
          RefreshInput input = state.Input(candidates);
          input.drop = drop;
          ExpectRefreshes(input);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

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

TEST(Refresh, EverythingWhereAllAreWanted) {
  Rng rng(kSeed + 2);
  const State state(13, 70, 0.3, 0.3, rng);
  const RefreshInput input = state.Input(13 * 70);
  const Membership next = Refresh(input, PoolOf(2));
  std::vector<uint32_t> all(state.pattern.nnz());
  std::iota(all.begin(), all.end(), 0);
  ExpectMembership(input, next, all);
}

// A set without mask (all of it is kept) is one whose mask is everything.
TEST(Refresh, NoMaskMeansAllAreKept) {
  Rng rng(kSeed + 3);
  const State state(13, 70, 0.3, 1.0, rng);
  RefreshInput input = state.Input(state.pattern.nnz() + 50);
  const Membership with = Refresh(input, PoolOf(1));
  input.kept = nullptr;
  EXPECT_TRUE(Same(Refresh(input, PoolOf(1)), with));
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

// What has seen no gradient yet (u = 0) is better than what is no number, whichever comes first.
TEST(Refresh, NanIsTheLowest) {
  Rng rng(kSeed + 12);
  State state(20, 30, 0.5, 0.0, rng);
  int64_t zeros = 0;
  for (size_t e = 0; e < state.m.size(); ++e) {
    state.m[e] = e % 3 == 0 ? kNan : 0;
    state.v[e] = 0;
    zeros += e % 3 != 0;
  }
  for (const int64_t candidates : {zeros - 5, zeros, zeros + 5}) {
    RefreshInput input = state.Input(candidates);
    input.drop = 0;
    ExpectRefreshes(input);
  }
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

TEST(Narrow, KeepsTheMaskAndTheBestOthers) {
  Rng rng(kSeed + 10);
  for (const auto& [rows, cols] : {std::pair{1, 1}, {9, 65}, {64, 64}, {33, 20}}) {
    const Pattern full = Pattern::Full(rows, cols);
    const int64_t numel = full.nnz();
    std::vector<float> m(numel), v(numel);
    Bitmap kept((numel + 63) / 64);
    int64_t k = 0;
    for (int64_t i = 0; i < numel; ++i) {
      m[i] = rng.Below(30) ? std::round(8 * rng.Normal()) : kNan;
      v[i] = rng.Below(2) ? 1.0f : 0.0f;
      if (rng.Below(8) == 0) kernels::Keep(i, kept.data()), ++k;
    }
    for (const int64_t candidates : {k, (k + numel) / 2, numel}) {
      RefreshInput as_refresh;
      as_refresh.pattern = full.view();
      as_refresh.m = m.data();
      as_refresh.v = v.data();
      as_refresh.kept = kept.data();
      as_refresh.candidates = candidates;
      as_refresh.eps = 0.1;
      as_refresh.drop = 0;
      const std::vector<uint32_t> staying = ExpectedStaying(as_refresh);
      const NarrowInput input = {rows, cols, m.data(), v.data(), kept.data(), candidates, 0.1};
      const Membership next = Narrow(input, PoolOf(1));
      ExpectMembership(as_refresh, next, staying);
      EXPECT_EQ(std::vector<uint32_t>(next.source.begin(), next.source.end()), staying);
      EXPECT_TRUE(Same(Narrow(input, PoolOf(3)), next));
    }
  }
  std::vector<float> zeros(20);
  const Membership all = Narrow({4, 5, zeros.data(), zeros.data(), nullptr, 20, 0.1}, PoolOf(1));
  EXPECT_EQ(all.pattern.nnz(), 20);
}

TEST(RefreshDeathTest, RefusesWhatCannotBe) {
  Rng rng(kSeed + 11);
  const State state(5, 7, 0.5, 0.5, rng);
  EXPECT_DEATH(Refresh(state.Input(36), PoolOf(1)), "36 candidates of 5 x 7 positions");
  EXPECT_DEATH(Refresh(state.Input(state.k - 1), PoolOf(1)), "in the mask");
}

}  // namespace
}  // namespace filigree::mask
