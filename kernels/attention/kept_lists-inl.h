// Lists of kept entries by key, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/attention/kept_lists.h"
#include "kernels/base/tile.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Turns the bits of up to 16 channels, a word of keys each, into a word of channels for each key.
inline void TransposeBits(const uint64_t* bits, int channels, uint16_t* by_key) {
  const hn::CappedTag<uint16_t, 32> d;
  constexpr int kStep = hn::MaxLanes(d);
  for (int t = 0; t < kTileTokens; t += kStep) {
    auto words = hn::Zero(d);
    for (int c = 0; c < channels; ++c) {
      const auto kept = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(bits + c) + t / 8);
      words = hn::Or(words, hn::IfThenElseZero(kept, hn::Set(d, static_cast<uint16_t>(1u << c))));
    }
    hn::Store(words, d, by_key + t);
  }
}

// Writes a whole vector, the lanes of v whose bits are set (one a lane, from `bits` on) at its front: their number.
#if HWY_TARGET == HWY_AVX2
// By a permutation from a table. Highway's own Compress copies its table to the stack at every call under GCC.
template <class D>
HWY_INLINE int StoreCompressed(D d, hn::Vec<D> v, const uint8_t* bits, int32_t* to) {
  const hn::RebindToUnsigned<D> du;
  const auto packed = hn::Set(du, kLanesToFront[*bits]);
  const auto lanes = hn::And(hn::Shr(packed, hn::ShiftLeft<2>(hn::Iota(du, 0))), hn::Set(du, 7));
  hn::StoreU(hn::TableLookupLanes(v, hn::IndicesFromVec(d, lanes)), d, to);
  return std::popcount(*bits);
}
#else
template <class D>
HWY_INLINE int StoreCompressed(D d, hn::Vec<D> v, const uint8_t* bits, int32_t* to) {
  const auto kept = hn::LoadMaskBits(d, bits);
  hn::StoreU(hn::Compress(v, kept), d, to);
  return static_cast<int>(hn::CountTrue(d, kept));
}
#endif

// Fills counts and lists from one word of bits a channel; then sorts.
inline void ListByKey(const uint64_t* bits, ConstTile x, KeyLists& lists) {
  const hn::CappedTag<int32_t, 16> d;
  constexpr int kStep = hn::MaxLanes(d);
  static_assert(kTileTokens == 1 << 6);
  const int groups = (x.channels + 15) / 16;
  alignas(64) uint16_t by_key[kMaxHeadChannels / 16][kTileTokens];
  for (int g = 0; g < groups; ++g) TransposeBits(bits + 16 * g, std::min(16, x.channels - 16 * g), by_key[g]);
  lists.Reserve(x.channels);
  int32_t* places = lists.places.data();
  const auto from_zero = hn::ShiftLeft<6>(hn::Iota(d, 0));
  int n = 0;
  for (int key = 0; key < kTileTokens; ++key) {
    lists.first[key] = n;
    for (int c = 0; c < 16 * groups; c += kStep) {
      const uint8_t* word = reinterpret_cast<const uint8_t*>(by_key[c / 16] + key) + c % 16 / 8;
      const auto channel = hn::Add(from_zero, hn::Set(d, c * kTileTokens + key));
      n += StoreCompressed(d, channel, word, places + n);
    }
    lists.count[key] = n - lists.first[key];
  }
  lists.first[kTileTokens] = n;
  for (int i = 0; i < n; ++i) lists.values.data()[i] = x.data[places[i]];
  lists.SortByCount();
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
