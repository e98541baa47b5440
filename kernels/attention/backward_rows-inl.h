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

// One tile of queries (QueryCopies of backward_workspace.h).
struct BackwardQueries {
  const float *q, *dy, *max, *delta;
  float* dq;
};

// Calls body(group size as a constant, first entry) for the entries [begin, end) cut into groups of four and a rest.
template <class Body>
HWY_INLINE void ForGroups(int begin, int end, Body&& body) {
  int i = begin;
  for (; i + 4 <= end; i += 4) body(std::integral_constant<int, 4>(), i);
  switch (end - i) {
    case 1:
      body(std::integral_constant<int, 1>(), i);
      break;
    case 2:
      body(std::integral_constant<int, 2>(), i);
      break;
    case 3:
      body(std::integral_constant<int, 3>(), i);
      break;
    default:
      break;
  }
}

// The sums of a group; where it has less than four, what follows gets a zero.
HWY_INLINE void AddToSums(const LaneSum (&sum)[4], float* to) {
  const D4 d;
  hn::StoreU(hn::Add(hn::LoadU(d, to), AddLanes(sum)), d, to);
}

// square = p z, the exponential alone.
template <class Range>
HWY_INLINE void ExponentialRows(Range, const KeyLists& lists, const BackwardQueries& queries, const Ahead& ahead,
                                Square& square) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  V max[kRowVectors];
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) max[j] = hn::Load(d, queries.max + j * kLanes);
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step<0, 3>(i);
    V score[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) score[j] = hn::Zero(d);
    AddListed<Range::kFirst>(lists, key, queries.q, score);
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      V e = Exp2(d, hn::Sub(score[j], max[j]));
      if (j < Range::kMaskEnd) e = hn::IfThenElseZero(Visible(key, j), e);
      hn::Store(e, d, square.row(key) + j * kLanes);
    }
  }
}

// square = ds; dv's sums += p dy.
template <class Range>
HWY_INLINE void ValueRows(Range, const KeyLists& lists, const BackwardQueries& queries, const Ahead& ahead,
                          Square& square, KeySums& dv) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step<1, 3>(i);
    float* row = square.row(key);
    V e[kRowVectors], dp[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      e[j] = hn::Load(d, row + j * kLanes);
      dp[j] = hn::Zero(d);
    }
    const float* rows = queries.dy - key;
    const int begin = lists.first[key], end = begin + lists.count[key];
    ForGroups(begin, end, [&](auto size, int entry) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const float* dy = rows + lists.places[entry + m];
        const V value = hn::Set(d, lists.values[entry + m]);
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          const V g = hn::Load(d, dy + j * kLanes);
          dp[j] = hn::MulAdd(value, g, dp[j]);
          sum[m].Add(j, e[j], g);
        }
      }
      AddToSums(sum, dv.of(entry));
    });
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      // dp and delta are the same sum, term by term, where one value is all of y: then ds is exactly 0.
      V ds = hn::Mul(e[j], hn::Sub(dp[j], hn::Load(d, queries.delta + j * kLanes)));
      if (j < Range::kMaskEnd) ds = hn::IfThenElseZero(Visible(key, j), ds);  // what is hidden may have overflowed
      hn::Store(ds, d, row + j * kLanes);
    }
  }
}

// dk's sums += ds q.
template <class Range>
HWY_INLINE void KeyRows(Range, const KeyLists& lists, const BackwardQueries& queries, const Ahead& ahead,
                        const Square& square, KeySums& dk) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step<2, 3>(i);
    V ds[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      ds[j] = hn::Load(d, square.row(key) + j * kLanes);
    }
    const float* rows = queries.q - key;
    const int begin = lists.first[key], end = begin + lists.count[key];
    ForGroups(begin, end, [&](auto size, int entry) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const float* q = rows + lists.places[entry + m];
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          sum[m].Add(j, ds[j], hn::Load(d, q + j * kLanes));
        }
      }
      AddToSums(sum, dk.of(entry));
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_BACKWARD_ROWS_INL_H_
