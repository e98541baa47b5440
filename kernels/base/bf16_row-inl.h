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

// A row is read in pairs of vectors, of floats or of bf16: of each half of 32 tokens pair i, whose low vector holds the
// tokens from i * lanes on and whose high one those 16 further. So a kernel is written once for both.
constexpr int kBf16Pairs = 16 / kBf16Lanes;                                       // of a half
constexpr int LowVector(int half, int i) { return (2 * half * kBf16Pairs) + i; }  // of the row, in order of tokens
constexpr int HighVector(int half, int i) { return LowVector(half, i) + kBf16Pairs; }

struct Bf16Pair {
  hwy::HWY_NAMESPACE::Vec<Bf16Floats> low, high;
};

HWY_INLINE Bf16Pair LoadPair(const float* row, int half, int i) {
  const Bf16Floats df;
  const float* from = row + 32 * half + i * kBf16Lanes;
  return {hwy::HWY_NAMESPACE::Load(df, from), hwy::HWY_NAMESPACE::Load(df, from + 16)};
}

HWY_INLINE Bf16Pair LoadPair(const uint32_t* row, int half, int i) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Bf16Floats df;
  const Bf16Words du;
  const auto words = hn::Load(du, row + 16 * half + i * kBf16Lanes);
  return {hn::BitCast(df, hn::ShiftLeft<16>(words)), hn::BitCast(df, hn::And(words, hn::Set(du, 0xffff0000u)))};
}

// A row as floats.
HWY_INLINE void WidenRow(const uint32_t* from, float* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Bf16Floats df;
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < kBf16Pairs; ++i) {
      const Bf16Pair pair = LoadPair(from, half, i);
      hn::Store(pair.low, df, to + LowVector(half, i) * kBf16Lanes);
      hn::Store(pair.high, df, to + HighVector(half, i) * kBf16Lanes);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_BASE_BF16_ROW_INL_H_
