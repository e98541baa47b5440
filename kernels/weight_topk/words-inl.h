// Comparing 64 weights at once, for Highway: included by the *_simd.cc of this folder, compiled once per target.
#if defined(FILIGREE_KERNELS_WEIGHT_TOPK_WORDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_WEIGHT_TOPK_WORDS_INL_H_
#undef FILIGREE_KERNELS_WEIGHT_TOPK_WORDS_INL_H_
#else
#define FILIGREE_KERNELS_WEIGHT_TOPK_WORDS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using VI = hn::Vec<DI>;
constexpr int kLanes = hn::MaxLanes(DF());
constexpr int kWordVectors = 64 / kLanes;

HWY_INLINE VI LoadBits(const float* w) {
  return hn::And(hn::BitCast(DI(), hn::LoadU(DF(), w)), hn::Set(DI(), 0x7fffffff));
}

// Bit i: lane i is set.
HWY_INLINE uint64_t BitsOfMask(hn::Mask<DI> mask) {
#if HWY_TARGET == HWY_AVX2
  uint64_t bits = 0;
  hn::StoreMaskBits(DI(), mask, reinterpret_cast<uint8_t*>(&bits));
  return bits;
#else
  // In assembly, as GCC 12 may spill the 16 bits of a mask and load 64.
  uint32_t bits;
  asm("kmovw %1, %0" : "=r"(bits) : "k"(mask.raw));
  return bits;
#endif
}

// Bit i: bits of w[i] > threshold(i), for the 64 entries of a word. threshold(vector) gives 16 or 8 of them.
template <class Threshold>
HWY_INLINE uint64_t Greater(const float* w, Threshold threshold) {
  uint64_t word = 0;
  for (int i = 0; i < kWordVectors; ++i) {
    word |= BitsOfMask(hn::Gt(LoadBits(w + i * kLanes), threshold(i))) << (i * kLanes);
  }
  return word;
}

HWY_INLINE uint64_t GreaterThan(const float* w, int32_t threshold) {
  return Greater(w, [threshold](int) HWY_ATTR { return hn::Set(DI(), threshold); });
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_WORDS_INL_H_
