// Products of one pair of tiles, added to the sums of a block: included by sddmm_simd.cc, compiled once per target.
#if defined(FILIGREE_KERNELS_SDDMM_ACCUMULATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_SDDMM_ACCUMULATE_INL_H_
#undef FILIGREE_KERNELS_SDDMM_ACCUMULATE_INL_H_
#else
#define FILIGREE_KERNELS_SDDMM_ACCUMULATE_INL_H_
#endif

#include <algorithm>

#include "hwy/cache_control.h"
#include "kernels/base/bf16_row-inl.h"
#include "kernels/base/tile.h"

#include "hwy/highway.h"

// One tile, x, is transposed into L1 first, the channels of a token in a row: an entry dy[o, t] of the other then costs
// one broadcast and a fused multiply-add for each vector of that row, while the sums of row o lie in registers. Entries
// that are not kept cost nothing: their bits are not visited.

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());

// Columns of a block. Sparse rows: eight sums a row hide the latency of the multiply-adds, and the transposed tile
// still fits L1 (32 KB with AVX-512, 16 KB with AVX2). Dense rows: 16 KB, as all of it is read for every few rows.
constexpr int kKeptColumns = 8 * kLanes;
constexpr int kDenseColumns = 64;

// to[j][i] = from[i][j] for 4 x 4 floats.
HWY_INLINE void TransposeFour(const float* from, size_t from_stride, float* to, size_t to_stride) {
  const hn::FixedTag<float, 4> d;
  const auto a = hn::Load(d, from), b = hn::Load(d, from + from_stride);
  const auto c = hn::Load(d, from + 2 * from_stride), e = hn::Load(d, from + 3 * from_stride);
  const auto ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
  const auto be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
  hn::Store(hn::InterleaveLower(d, ac_low, be_low), d, to);
  hn::Store(hn::InterleaveUpper(d, ac_low, be_low), d, to + to_stride);
  hn::Store(hn::InterleaveLower(d, ac_high, be_high), d, to + 2 * to_stride);
  hn::Store(hn::InterleaveUpper(d, ac_high, be_high), d, to + 3 * to_stride);
}

// xt[t][i] = x[i, t]. Sixteen columns at a time: a line of xt is written at once, as the lines of one column all fall
// into few sets of L1.
template <int kColumns>
HWY_INLINE void TransposeColumns(const float* x, int columns, float* xt) {
  int i = 0;
  for (; i + 16 <= columns; i += 16) {
    for (int t = 0; t < kTileTokens; t += 4) {
      const float* ahead = x + (i + 16 + t / 4) * kTileTokens;
      for (int line = 0; line < 4; ++line) hwy::Prefetch(ahead + 16 * line);
      for (int c = i; c < i + 16; c += 4) {
        TransposeFour(x + c * kTileTokens + t, kTileTokens, xt + t * kColumns + c, kColumns);
      }
    }
  }
  for (; i < columns; ++i) {
    for (int t = 0; t < kTileTokens; ++t) xt[t * kColumns + i] = x[i * kTileTokens + t];
  }
}

// Columns past the last are 0.
template <int kColumns>
HWY_INLINE void ClearColumns(int columns, float* xt) {
  for (int t = 0; t < kTileTokens; ++t) std::fill(xt + t * kColumns + columns, xt + (t + 1) * kColumns, 0.0f);
}

// sums[o][i] += sum over the kept tokens t of dy[o, t] * xt[t][i]
inline void AddKept(const float* dy, const uint64_t* kept, int rows, const float* xt, float* sums) {
  constexpr int kVectors = kKeptColumns / kLanes;
  const D d;
  for (int o = 0; o < rows; ++o, dy += kTileTokens, sums += kKeptColumns) {
    V sum[kVectors];
    for (int j = 0; j < kVectors; ++j) sum[j] = hn::Load(d, sums + j * kLanes);
    for (uint64_t left = kept[o]; left != 0; left &= left - 1) {
      const size_t t = hwy::Num0BitsBelowLS1Bit_Nonzero64(left);
      const V value = hn::Set(d, dy[t]);
      const float* x = xt + t * kKeptColumns;
      for (int j = 0; j < kVectors; ++j) sum[j] = hn::MulAdd(value, hn::Load(d, x + j * kLanes), sum[j]);
    }
    for (int j = 0; j < kVectors; ++j) hn::Store(sum[j], d, sums + j * kLanes);
  }
}

// As AddKept for kRows rows of which every token is kept: a vector of xt is loaded once for them all.
template <int kRows>
HWY_INLINE void AddDenseRows(const float* dy, const float* xt, float* sums) {
  constexpr int kVectors = 4;
  const D d;
  for (int i = 0; i < kDenseColumns; i += kVectors * kLanes) {
    V sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::Load(d, sums + r * kDenseColumns + i + j * kLanes);
    }
    for (int t = 0; t < kTileTokens; ++t) {
      V x[kVectors];
      for (int j = 0; j < kVectors; ++j) x[j] = hn::Load(d, xt + t * kDenseColumns + i + j * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const V value = hn::Set(d, dy[r * kTileTokens + t]);
        for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::MulAdd(value, x[j], sum[r][j]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) hn::Store(sum[r][j], d, sums + r * kDenseColumns + i + j * kLanes);
    }
  }
}

inline void AddDense(const float* dy, int rows, const float* xt, float* sums) {
  constexpr int kRows = kLanes == 16 ? 6 : 3;  // with four vectors each, three quarters of the registers
  int o = 0;
  for (; o + kRows <= rows; o += kRows) AddDenseRows<kRows>(dy + o * kTileTokens, xt, sums + o * kDenseColumns);
  for (; o < rows; ++o) AddDenseRows<1>(dy + o * kTileTokens, xt, sums + o * kDenseColumns);
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_SDDMM_ACCUMULATE_INL_H_
