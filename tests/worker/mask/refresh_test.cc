// Refreshes of candidate sets against the definition of who stays, and of how many there are then, for any number of
// threads; the step from dense storage.

#include "worker/mask/refresh.h"

#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/tiles.h"
#include "tests/worker/mask/refresh_state.h"

namespace filigree::mask {
namespace {

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
