// The three kinds of 16-bit keys, for Highway: included by abs_topk_simd.cc, compiled once per target. Every kind is a
// monotone image of |x|, so that counting keys counts magnitudes.
//
//   near     (bits - base) >> 11, saturated: 8 octaves either side of an expected magnitude, 4096 keys an octave. A
//   base
//            that misses costs time only: what lies outside falls into the first or the last key.
//   upper    bits >> 15: all magnitudes.
//   lower    bits & 0x7fff inside one upper key, lane by lane; all below and all above it get one key each.
//
// bits is |x| as an integer, which sorts like |x|, with NaN above infinity.
#if defined(FILIGREE_KERNELS_ABS_TOPK_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ABS_TOPK_KEYS_INL_H_
#undef FILIGREE_KERNELS_ABS_TOPK_KEYS_INL_H_
#else
#define FILIGREE_KERNELS_ABS_TOPK_KEYS_INL_H_
#endif

#include <cstdint>

#include "kernels/abs_topk/lanes-inl.h"
#include "kernels/base/tile.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {

constexpr int kNearShift = 11;
constexpr int kUpperShift = 15;
constexpr float kNearOctave = 1 << (23 - kNearShift), kUpperOctave = 1 << (23 - kUpperShift);
constexpr int32_t kLowerMask = (1 << kUpperShift) - 1;
constexpr int kUpperBias = 32768, kLowerBias = 16384;  // what is subtracted so that keys are signed

// A threshold in `near` keys as bits of a magnitude.
HWY_INLINE int64_t NearKeyBits(int32_t base, float key) {
  return base + static_cast<int64_t>(key) * (int64_t{1} << kNearShift);
}

// The keys of 32 tokens of a row, key(bits of |x|, vector) lane by lane.
template <class Key>
HWY_INLINE Keys RowKeys(const float* row, Key key) {
  VI wide[kFloatVectors];
  for (int i = 0; i < kFloatVectors; ++i) wide[i] = key(MagnitudeBits(hn::Load(DF(), row + i * kFloatLanes)), i);
  return PackKeys(wide);
}

// Whether exact zeros have the lowest near key to themselves. It costs three instructions a vector, and pays where
// tokens may have fewer than k nonzeros: zeros are then known to be equal.
enum class Zeros { kShareKey, kOwnKey };

// How many near keys lie above each of two bounds.
struct FirstTrials {
  alignas(64) int16_t above_low[kTileTokens], above_high[kTileTokens];
};

// Near keys of all groups in one read of the tile, with the first two trials of every search on the way.
template <Zeros kZeros>
HWY_INLINE void MakeNearKeys(ConstTile x, int32_t base, int low_bound, int high_bound, int16_t* keys,
                             FirstTrials& first) {
  const VI origin = hn::Set(DI(), base);
  const VI lowest = hn::Set(DI(), -32768), above_zero = hn::Set(DI(), -32767);
  const Keys low = SetKeys(low_bound), high = SetKeys(high_bound);
  const size_t group_size = static_cast<size_t>(x.channels) * kGroupTokens;
  Keys above_low[kGroups], above_high[kGroups];
  for (int g = 0; g < kGroups; ++g) above_low[g] = above_high[g] = SetKeys(0);
  for (int c = 0; c < x.channels; ++c, keys += kGroupTokens) {
    for (int g = 0; g < kGroups; ++g) {
      const Keys row = RowKeys(x.row(c) + g * kGroupTokens, [&](VI bits, int) HWY_ATTR {
        const VI key = hn::ShiftRight<kNearShift>(hn::Sub(bits, origin));
        if constexpr (kZeros == Zeros::kShareKey) return key;
        return hn::IfThenElse(hn::Eq(bits, hn::Zero(DI())), lowest, hn::Max(key, above_zero));
      });
      StoreKeys(row, keys + g * group_size);
      AddGreater(row, low, above_low[g]);
      AddGreater(row, high, above_high[g]);
    }
  }
  for (int g = 0; g < kGroups; ++g) {
    StoreKeys(above_low[g], first.above_low + g * kGroupTokens);
    StoreKeys(above_high[g], first.above_high + g * kGroupTokens);
  }
}

HWY_INLINE void MakeUpperKeys(ConstTile x, int group, int16_t* keys) {
  const VI bias = hn::Set(DI(), kUpperBias);
  for (int c = 0; c < x.channels; ++c, keys += kGroupTokens) {
    const Keys row = RowKeys(x.row(c) + group * kGroupTokens,
                             [&](VI bits, int) HWY_ATTR { return hn::Sub(hn::ShiftRight<kUpperShift>(bits), bias); });
    StoreKeys(row, keys);
  }
}

// upper: the upper key of each token whose inside is wanted (unbiased).
HWY_INLINE void MakeLowerKeys(ConstTile x, int group, const int32_t* upper, int16_t* keys) {
  const DI d;
  const VI mask = hn::Set(d, kLowerMask), bias = hn::Set(d, kLowerBias);
  const VI below = hn::Set(d, -32768), above = hn::Set(d, 32767);
  for (int c = 0; c < x.channels; ++c, keys += kGroupTokens) {
    const Keys row = RowKeys(x.row(c) + group * kGroupTokens, [&](VI bits, int i) HWY_ATTR {
      const VI high = hn::ShiftRight<kUpperShift>(bits), wanted = hn::Load(d, upper + i * kFloatLanes);
      const VI inside = hn::Sub(hn::And(bits, mask), bias);
      return hn::IfThenElse(hn::Gt(high, wanted), above, hn::IfThenElse(hn::Eq(high, wanted), inside, below));
    });
    StoreKeys(row, keys);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ABS_TOPK_KEYS_INL_H_
