#ifndef FILIGREE_TESTS_WORKER_MASK_REFRESH_STATE_H_
#define FILIGREE_TESTS_WORKER_MASK_REFRESH_STATE_H_

// Candidate sets to refresh, with much that is equal and some that is no number, and what a refresh of them must be
// whoever its newcomers are.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/tiles.h"
#include "worker/mask/refresh.h"

namespace filigree::mask {

using kernels::IsKept;
using kernels::Pattern;
using kernels::PatternView;
using kernels::ThreadPool;
using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

inline constexpr uint64_t kSeed = 19;
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline ThreadPool& PoolOf(int threads) {
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

inline std::vector<uint32_t> Positions(const PatternView& pattern) {
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
inline std::vector<uint32_t> ExpectedStaying(const RefreshInput& input) {
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
inline std::vector<uint32_t> Newcomers(const Membership& next) {
  const std::vector<uint32_t> positions = Positions(next.pattern.view());
  std::vector<uint32_t> newcomers;
  for (size_t e = 0; e < positions.size(); ++e) {
    if (next.source[e] == kNewcomer) newcomers.push_back(positions[e]);
  }
  return newcomers;
}

// Sound, of the wanted size, and with those who stay, each at its position.
inline void ExpectMembership(const RefreshInput& input, const Membership& next, const std::vector<uint32_t>& staying) {
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

inline bool Same(const Membership& a, const Membership& b) {
  return Positions(a.pattern.view()) == Positions(b.pattern.view()) &&
         std::equal(a.source.begin(), a.source.end(), b.source.begin(), b.source.end());
}

inline void ExpectRefreshes(const RefreshInput& input) {
  const std::vector<uint32_t> staying = ExpectedStaying(input);
  const Membership one = Refresh(input, PoolOf(1));
  ExpectMembership(input, one, staying);
  for (const int threads : {2, 3}) EXPECT_TRUE(Same(Refresh(input, PoolOf(threads)), one)) << threads << " threads";
}

}  // namespace filigree::mask

#endif  // FILIGREE_TESTS_WORKER_MASK_REFRESH_STATE_H_
