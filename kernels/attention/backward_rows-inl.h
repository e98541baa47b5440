// The rows of a square in attention's backward pass, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "kernels/attention/ahead.h"
#include "kernels/attention/backward_workspace.h"
#include "kernels/attention/lane_sums-inl.h"
#include "kernels/attention/tile_pair-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One tile of queries; max, inverse and delta have an entry for each.
struct BackwardQueries {
  ConstTile q, dy;
  const float *max, *inverse, *delta;
  Tile dq;
};

// Calls body(offsets, group size as a constant, first slot) for a list cut into groups of four and a rest.
template <class Body>
HWY_INLINE void ForGroups(const int32_t* offsets, int count, Body&& body) {
  int i = 0;
  for (; i + 4 <= count; i += 4) body(offsets + i, std::integral_constant<int, 4>(), i);
  switch (count - i) {
    case 1:
      body(offsets + i, std::integral_constant<int, 1>(), i);
      break;
    case 2:
      body(offsets + i, std::integral_constant<int, 2>(), i);
      break;
    case 3:
      body(offsets + i, std::integral_constant<int, 3>(), i);
      break;
    default:
      break;
  }
}

// The diagonal comes first for every key: it overwrites.
template <bool kOverwrite>
HWY_INLINE void AddToSlots(const LaneSum (&sum)[4], float* slots) {
  const D4 d;
  const auto added = AddLanes(sum);
  hn::StoreU(kOverwrite ? added : hn::Add(hn::LoadU(d, slots), added), d, slots);
}

// square = p.
template <class Range>
HWY_INLINE void ProbabilityRows(Range, const KeyLists& lists, const float* k, float scale,
                                const BackwardQueries& queries, const Ahead& ahead, Square& square) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  const V factor = hn::Set(d, scale);
  V max[kRowVectors], inverse[kRowVectors];
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
    max[j] = hn::LoadU(d, queries.max + j * kLanes);
    inverse[j] = hn::LoadU(d, queries.inverse + j * kLanes);
  }
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step(i);
    V score[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) score[j] = hn::Zero(d);
    AddListed<Range::kFirst>(lists.offsets(key), lists.count[key], k + key, queries.q.data, score);
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      const V e = Exp2(d, hn::Mul(hn::Sub(score[j], max[j]), factor));
      // Padding has the inverse 0, and whatever e.
      V p = hn::IfThenElseZero(hn::Ne(inverse[j], hn::Zero(d)), hn::Mul(e, inverse[j]));
      if (j < Range::kMaskEnd) p = hn::IfThenElseZero(Visible(key, j), p);
      hn::Store(p, d, square.row(key) + j * kLanes);
    }
  }
}

// square = ds; dv's sums += p dy.
template <class Range>
HWY_INLINE void ValueRows(Range, const KeyLists& lists, const float* v, const BackwardQueries& queries, Square& square,
                          KeySums& dv) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    float* row = square.row(key);
    V p[kRowVectors], dp[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      p[j] = hn::Load(d, row + j * kLanes);
      dp[j] = hn::Zero(d);
    }
    float* slots = dv.of(key);
    ForGroups(lists.offsets(key), lists.count[key], [&](const int32_t* offsets, auto size, int slot) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const V value = hn::Set(d, v[key + offsets[m]]);
        const float* dy = queries.dy.data + offsets[m];
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          const V g = hn::Load(d, dy + j * kLanes);
          dp[j] = hn::MulAdd(value, g, dp[j]);
          sum[m].Add(j, p[j], g);
        }
      }
      AddToSlots<Range::kDiagonal>(sum, slots + slot);
    });
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      // dp and delta are the same sum, term by term, where one value is all of y: then ds is exactly 0. Nothing comes
      // from where p is 0: hidden keys and padding, whose dp may overflow.
      const V through = hn::Mul(p[j], hn::Sub(dp[j], hn::LoadU(d, queries.delta + j * kLanes)));
      const V ds = hn::IfThenElseZero(hn::Ne(p[j], hn::Zero(d)), through);
      hn::Store(ds, d, row + j * kLanes);
    }
  }
}

// dk's sums += ds q.
template <class Range>
HWY_INLINE void KeyRows(Range, const KeyLists& lists, const BackwardQueries& queries, const Square& square,
                        KeySums& dk) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    V ds[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      ds[j] = hn::Load(d, square.row(key) + j * kLanes);
    }
    float* slots = dk.of(key);
    ForGroups(lists.offsets(key), lists.count[key], [&](const int32_t* offsets, auto size, int slot) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const float* q = queries.q.data + offsets[m];
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          sum[m].Add(j, ds[j], hn::Load(d, q + j * kLanes));
        }
      }
      AddToSlots<Range::kDiagonal>(sum, slots + slot);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_
