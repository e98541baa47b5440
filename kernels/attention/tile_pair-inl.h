// What the forward and the backward pass of attention share, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_TILE_PAIR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_TILE_PAIR_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_TILE_PAIR_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_TILE_PAIR_INL_H_
#endif

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/attention/exp2-inl.h"
#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"
#include "kernels/base/tile.h"

#include "hwy/highway.h"

// The attention matrix is visited in squares of 64 keys x 64 queries, kept as 64 rows, one a key, of 64 queries:
// vectors run over queries, so that a nonzero of k or v is one broadcast and one row of q, dy or p. On the diagonal,
// the row of key s begins with the block of 16 queries that holds query s; what lies before is never written, or zero.

// Vectors of a row live in registers once loops over them are unrolled. With a sanitizer that only costs minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FILIGREE_UNROLL
#else
#define FILIGREE_UNROLL HWY_PRAGMA(GCC unroll 16)
#endif

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());
constexpr int kRowVectors = kTileTokens / kLanes;
constexpr int kBlockVectors = kBlockKeys / kLanes;
constexpr int kBlocks = kTileTokens / kBlockKeys;

// Keys [begin, end) of `order`, whose rows begin at block `kBlock`; on the diagonal that block holds the keys too.
template <int kBlockIndex, bool kOnDiagonal>
struct RowRange {
  static constexpr bool kDiagonal = kOnDiagonal;
  static constexpr int kFirst = kBlockIndex * kBlockVectors;  // vector where the rows begin
  static constexpr int kMaskEnd = kOnDiagonal ? kFirst + kBlockVectors : kFirst;
  static constexpr int kBegin = kBlockIndex * kBlockKeys;
  static constexpr int kEnd = kOnDiagonal ? kBegin + kBlockKeys : kTileTokens;
};

// Calls body(range) for the rows of a square: one range, or four on the diagonal.
template <class Body>
HWY_INLINE void ForRowRanges(bool diagonal, Body&& body) {
  if (!diagonal) {
    body(RowRange<0, false>());
  } else {
    body(RowRange<0, true>());
    body(RowRange<1, true>());
    body(RowRange<2, true>());
    body(RowRange<3, true>());
  }
}

// Exponents are powers of two: q is multiplied by log2(e) / sqrt(K) before all else. The sink knows no sqrt(K).
inline float ExponentScale(int channels) {
  return static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(channels)));
}
inline float SinkExponent(float sink) { return sink * std::numbers::log2e_v<float>; }

// True where the query of vector j may see the key.
HWY_INLINE hn::Mask<D> Visible(int key, int j) {
  const D d;
  return hn::Ge(hn::Iota(d, static_cast<float>(j * kLanes)), hn::Set(d, static_cast<float>(key)));
}

// sum[j] += value * rows[channel][query] over a key's list, vectors kFirst and up.
template <int kFirst>
HWY_INLINE void AddListed(const KeyLists& lists, int key, const float* rows, V (&sum)[kRowVectors]) {
  const D d;
  const int begin = lists.first[key], end = begin + lists.count[key];
  rows -= key;  // places count from the key's column
  for (int i = begin; i < end; ++i) {
    const float* row = rows + lists.places[i];
    const V value = hn::Set(d, lists.values[i]);
    FILIGREE_UNROLL for (int j = kFirst; j < kRowVectors; ++j) {
      sum[j] = hn::MulAdd(value, hn::Load(d, row + j * kLanes), sum[j]);
    }
  }
}

// sum[j] = sum over the channel's kept keys of row[key] * square[key][query], keys ascending.
HWY_INLINE void SumKeptKeys(uint64_t kept, const float* row, const Square& square, V (&sum)[kRowVectors]) {
  const D d;
  FILIGREE_UNROLL for (int j = 0; j < kRowVectors; ++j) sum[j] = hn::Zero(d);
  for (; kept != 0; kept &= kept - 1) {
    const int key = std::countr_zero(kept);
    const V value = hn::Set(d, row[key]);
    FILIGREE_UNROLL for (int j = 0; j < kRowVectors; ++j) {
      sum[j] = hn::MulAdd(value, hn::Load(d, square.row(key) + j * kLanes), sum[j]);
    }
  }
}

// Zeroes the queries before block kBlock in the rows of that block's keys: they see none of them.
template <int kBlock>
HWY_INLINE void ClearHiddenBlocks(Square& square) {
  const D d;
  for (int key = kBlock * kBlockKeys; key < (kBlock + 1) * kBlockKeys; ++key) {
    FILIGREE_UNROLL for (int j = 0; j < kBlock * kBlockVectors; ++j) {
      hn::Store(hn::Zero(d), d, square.row(key) + j * kLanes);
    }
  }
}

HWY_INLINE void ClearBelowDiagonal(Square& square) {
  ClearHiddenBlocks<1>(square);
  ClearHiddenBlocks<2>(square);
  ClearHiddenBlocks<3>(square);
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_TILE_PAIR_INL_H_
