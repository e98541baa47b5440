// 32 tokens' worth of 16-bit keys as one value, for Highway: included by the other files of this folder, compiled once
// per target. AVX-512 holds a group in one vector, AVX2 in two.
#if defined(FILIGREE_KERNELS_ABS_TOPK_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ABS_TOPK_LANES_INL_H_
#undef FILIGREE_KERNELS_ABS_TOPK_LANES_INL_H_
#else
#define FILIGREE_KERNELS_ABS_TOPK_LANES_INL_H_
#endif

#include <cstdint>

#include "kernels/base/tile.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kGroupTokens = 32;
constexpr int kGroups = kTileTokens / kGroupTokens;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DK = hn::CappedTag<int16_t, 32>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VK = hn::Vec<DK>;
constexpr int kFloatLanes = hn::MaxLanes(DF());
constexpr int kKeyLanes = hn::MaxLanes(DK());
constexpr int kFloatVectors = kGroupTokens / kFloatLanes;  // vectors of 32-bit lanes in a group
constexpr int kKeyVectors = kGroupTokens / kKeyLanes;      // vectors of 16-bit lanes in a group

struct Keys {
  VK v[kKeyVectors];
};

HWY_INLINE Keys LoadKeys(const int16_t* p) {
  Keys keys;
  for (int i = 0; i < kKeyVectors; ++i) keys.v[i] = hn::Load(DK(), p + i * kKeyLanes);
  return keys;
}

HWY_INLINE void StoreKeys(const Keys& keys, int16_t* p) {
  for (int i = 0; i < kKeyVectors; ++i) hn::Store(keys.v[i], DK(), p + i * kKeyLanes);
}

HWY_INLINE Keys SetKeys(int value) {
  Keys keys;
  for (VK& v : keys.v) v = hn::Set(DK(), static_cast<int16_t>(value));
  return keys;
}

// 32-bit lanes to keys, saturated, in token order.
HWY_INLINE Keys PackKeys(const VI (&wide)[kFloatVectors]) {
  Keys keys;
  for (int i = 0; i < kKeyVectors; ++i) {
    const VK blocks = hn::ReorderDemote2To(DK(), wide[2 * i], wide[2 * i + 1]);
#if HWY_TARGET == HWY_AVX2
    keys.v[i] = VK{_mm256_permute4x64_epi64(blocks.raw, _MM_SHUFFLE(3, 1, 2, 0))};
#else
    keys.v[i] = VK{_mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), blocks.raw)};
#endif
  }
  return keys;
}

// Bit i: lane i is set.
HWY_INLINE uint32_t BitsOfMask(hn::Mask<DK> mask) {
  uint32_t bits = 0;
#if HWY_TARGET == HWY_AVX2
  hn::StoreMaskBits(DK(), mask, reinterpret_cast<uint8_t*>(&bits));
#else
  // In assembly, as GCC 12 may spill the bits of a mask and load more than it stored.
  asm("kmovd %1, %0" : "=r"(bits) : "k"(mask.raw));
#endif
  return bits;
}

// One bit a token.
HWY_INLINE uint32_t BitsGreater(const Keys& a, const Keys& b) {
  uint32_t bits = 0;
  for (int i = 0; i < kKeyVectors; ++i) bits |= BitsOfMask(hn::Gt(a.v[i], b.v[i])) << (i * kKeyLanes);
  return bits;
}

// One bit for each token with key == tie that has ties left; takes one of these tokens' ties.
HWY_INLINE uint32_t TakeTies(const Keys& key, const Keys& tie, Keys& ties) {
  const DK d;
  uint32_t bits = 0;
  for (int i = 0; i < kKeyVectors; ++i) {
    const auto take = hn::And(hn::Eq(key.v[i], tie.v[i]), hn::Gt(ties.v[i], hn::Zero(d)));
    ties.v[i] = hn::IfThenElse(take, hn::Sub(ties.v[i], hn::Set(d, 1)), ties.v[i]);
    bits |= BitsOfMask(take) << (i * kKeyLanes);
  }
  return bits;
}

// count += key > bound, modulo 2^16.
HWY_INLINE void AddGreater(const Keys& key, const Keys& bound, Keys& count) {
  for (int i = 0; i < kKeyVectors; ++i) {
#if HWY_TARGET == HWY_AVX2
    count.v[i] = hn::Sub(count.v[i], hn::VecFromMask(DK(), hn::Gt(key.v[i], bound.v[i])));
#else
    const __mmask32 greater = _mm512_cmpgt_epi16_mask(key.v[i].raw, bound.v[i].raw);
    count.v[i] = VK{_mm512_mask_sub_epi16(count.v[i].raw, greater, count.v[i].raw, _mm512_set1_epi16(-1))};
#endif
  }
}

HWY_INLINE VI MagnitudeBits(VF x) { return hn::And(hn::BitCast(DI(), x), hn::Set(DI(), 0x7fffffff)); }

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ABS_TOPK_LANES_INL_H_
