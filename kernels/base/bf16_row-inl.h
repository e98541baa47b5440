// Rows of kernels/base/bf16_row.h as vectors of floats: included by kernels that read them, compiled once per target.
#if defined(FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_
#undef FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_
#else
#define FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_
#endif

#include "kernels/base/bf16_row.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {

using Bf16Floats = hwy::HWY_NAMESPACE::CappedTag<float, 16>;
using Bf16Words = hwy::HWY_NAMESPACE::RebindToUnsigned<Bf16Floats>;
constexpr int kBf16Lanes = hwy::HWY_NAMESPACE::MaxLanes(Bf16Floats());

// Calls use(j, v) for every vector of a row: v holds the tokens [j * lanes, (j + 1) * lanes). Not in ascending order.
template <typename Use>
HWY_INLINE void ForRowVectors(const uint32_t* row, Use use) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Bf16Floats df;
  const Bf16Words du;
  constexpr int kOf16 = 16 / kBf16Lanes;  // vectors of 16 tokens
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < kOf16; ++i) {
      const auto words = hn::Load(du, row + 16 * half + i * kBf16Lanes);
      use(2 * kOf16 * half + i, hn::BitCast(df, hn::ShiftLeft<16>(words)));
      use(2 * kOf16 * half + kOf16 + i, hn::BitCast(df, hn::And(words, hn::Set(du, 0xffff0000u))));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_
