// Horizontal sums of the attention's backward pass, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_
#endif

#include "kernels/attention/tile_pair-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D4 = hn::FixedTag<float, 4>;

// The 16 logical lanes of a sum over queries (kernels/base/simd.h): lane i has the queries i, i + 16, i + 32, i + 48.
struct LaneSum {
  V part[kBlockVectors];

  HWY_INLINE void Clear() {
    for (V& v : part) v = hn::Zero(D());
  }
  // sum += a * b, of vector j of the row.
  HWY_INLINE void Add(int j, V a, V b) { part[j % kBlockVectors] = hn::MulAdd(a, b, part[j % kBlockVectors]); }
};

// Distances 8 and 4 of the tree.
HWY_INLINE hn::Vec<D4> AddUpperLanes(const LaneSum& sum) {
  const hn::Half<D> dh;
#if HWY_TARGET == HWY_AVX2
  const auto eight = hn::Add(sum.part[0], sum.part[1]);
  return hn::Add(hn::LowerHalf(dh, eight), hn::UpperHalf(dh, eight));
#else
  const hn::Half<decltype(dh)> dq;
  const auto eight = hn::Add(hn::LowerHalf(dh, sum.part[0]), hn::UpperHalf(dh, sum.part[0]));
  return hn::Add(hn::LowerHalf(dq, eight), hn::UpperHalf(dq, eight));
#endif
}

// Four sums at once: the tree's distances 2 and 1 run across them.
HWY_INLINE hn::Vec<D4> AddLanes(const LaneSum (&sum)[4]) {
  const D4 d;
  const auto a = AddUpperLanes(sum[0]), b = AddUpperLanes(sum[1]);
  const auto c = AddUpperLanes(sum[2]), e = AddUpperLanes(sum[3]);
  const auto ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const auto ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  return hn::Add(hn::ConcatLowerLower(d, ce, ab), hn::ConcatUpperUpper(d, ce, ab));
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_
