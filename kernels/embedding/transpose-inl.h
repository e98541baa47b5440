// Transposes of square blocks in registers, for Highway: included by embedding_simd.cc, compiled once per target.
#if defined(FILIGREE_KERNELS_EMBEDDING_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_EMBEDDING_TRANSPOSE_INL_H_
#undef FILIGREE_KERNELS_EMBEDDING_TRANSPOSE_INL_H_
#else
#define FILIGREE_KERNELS_EMBEDDING_TRANSPOSE_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Replaces rows i and i + kDistance, for all i without that bit, by low(a, b) and high(a, b).
template <int kDistance, size_t kRows, class V, class Low, class High>
HWY_INLINE void ForPairs(V (&row)[kRows], Low low, High high) {
  for (size_t i = 0; i < kRows; i += 2 * kDistance) {
    for (size_t j = i; j < i + kDistance; ++j) {
      const V a = row[j], b = row[j + kDistance];
      row[j] = low(a, b);
      row[j + kDistance] = high(a, b);
    }
  }
}

// Transposes the kRows x kRows floats in `row`, kRows being the lanes of D, 8 or 16. Two interleavings transpose every
// 4 x 4 block inside its 128 bits; then the blocks change places across the diagonal, nearest ones first.
template <class D, size_t kRows, class V = hn::Vec<D>>
HWY_INLINE void Transpose(D d, V (&row)[kRows]) {
  static_assert(kRows == hn::MaxLanes(D()) && (kRows == 8 || kRows == 16));
  const auto interleave_low = [d](V a, V b) HWY_ATTR { return hn::InterleaveLower(d, a, b); };
  const auto interleave_high = [d](V a, V b) HWY_ATTR { return hn::InterleaveUpper(d, a, b); };
  ForPairs<2>(row, interleave_low, interleave_high);
  ForPairs<1>(row, interleave_low, interleave_high);
  if constexpr (kRows == 16) {
    ForPairs<4>(
        row, [](V a, V b) HWY_ATTR { return hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a); },
        [](V a, V b) HWY_ATTR { return hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a)); });
  }
  ForPairs<kRows / 2>(
      row, [d](V a, V b) HWY_ATTR { return hn::ConcatLowerLower(d, b, a); },
      [d](V a, V b) HWY_ATTR { return hn::ConcatUpperUpper(d, b, a); });
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_EMBEDDING_TRANSPOSE_INL_H_
