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

// Distances 2 and 1 of the tree, of four sums at once: four lanes of each become one, side by side.
HWY_INLINE V AddWithinFours(V a, V b, V c, V e) {
  const D d;
  const hn::RepartitionToWide<D> d64;
  const auto ab = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  const auto ce = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e)));
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, ab, ce)), hn::BitCast(d, hn::InterleaveUpper(d64, ab, ce)));
}

// Four sums at once, as a tree of the distances 2, 1, 8, 4: the first two work on all four sums in one.
HWY_INLINE hn::Vec<D4> AddLanes(const LaneSum (&sum)[4]) {
  const hn::Half<D> dh;
  const V first = AddWithinFours(sum[0].part[0], sum[1].part[0], sum[2].part[0], sum[3].part[0]);
#if HWY_TARGET == HWY_AVX2
  const V eight = hn::Add(first, AddWithinFours(sum[0].part[1], sum[1].part[1], sum[2].part[1], sum[3].part[1]));
  return hn::Add(hn::LowerHalf(dh, eight), hn::UpperHalf(dh, eight));
#else
  const hn::Half<decltype(dh)> dq;
  const auto eight = hn::Add(hn::LowerHalf(dh, first), hn::UpperHalf(dh, first));
  return hn::Add(hn::LowerHalf(dq, eight), hn::UpperHalf(dq, eight));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_LANE_SUMS_INL_H_
