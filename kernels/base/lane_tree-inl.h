// Sums of lanes without a horizontal addition each, for Highway: compiled once per target. As many vectors as a vector
// has lanes become one, whose lane i is the sum of the lanes of vector i: at every level two vectors become one, and
// the distances are 1, 2, 4, 8.
#if defined(FILIGREE_KERNELS_BASE_LANE_TREE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_BASE_LANE_TREE_INL_H_
#undef FILIGREE_KERNELS_BASE_LANE_TREE_INL_H_
#else
#define FILIGREE_KERNELS_BASE_LANE_TREE_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace lane_tree {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());
constexpr int kHalves = 16 / kLanes;  // vectors that hold the 16 logical lanes

HWY_INLINE V AddDistance1(V a, V b) {
  const D d;
  return hn::Add(hn::OddEven(b, a), hn::Reverse2(d, hn::OddEven(a, b)));
}

HWY_INLINE V AddDistance2(V a, V b) {
  const D d;
  const hn::Repartition<double, D> d64;
  const auto a64 = hn::BitCast(d64, a), b64 = hn::BitCast(d64, b);
  return hn::Add(hn::BitCast(d, hn::OddEven(b64, a64)), hn::BitCast(d, hn::Reverse2(d64, hn::OddEven(a64, b64))));
}

HWY_INLINE V AddDistance4(V a, V b) {
  return hn::Add(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
}

HWY_INLINE V AddHalves(V a, V b) {
  const D d;
  return hn::Add(hn::ConcatUpperLower(d, b, a), hn::ConcatLowerUpper(d, b, a));
}

// Of each half of the logical lanes a vector.
struct Lanes {
  V half[kHalves];
};

// The first two levels of four sums: of every four lanes, lane i belongs to sum i.
HWY_INLINE Lanes AddFours(const Lanes (&sums)[4]) {
  Lanes fours;
  for (int h = 0; h < kHalves; ++h) {
    fours.half[h] =
        AddDistance2(AddDistance1(sums[0].half[h], sums[1].half[h]), AddDistance1(sums[2].half[h], sums[3].half[h]));
  }
  return fours;
}

// kLanes sums; four(i): AddFours of those from 4 i on.
template <typename Four>
HWY_INLINE V AddAll(Four four) {
  const Lanes a = four(0), b = four(1);
  if constexpr (kHalves == 2) {
    return hn::Add(AddHalves(a.half[0], b.half[0]), AddHalves(a.half[1], b.half[1]));
  } else {
    const V ab = AddDistance4(a.half[0], b.half[0]);
    const Lanes c = four(2), e = four(3);
    return AddHalves(ab, AddDistance4(c.half[0], e.half[0]));
  }
}

}  // namespace lane_tree
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_BASE_LANE_TREE_INL_H_
