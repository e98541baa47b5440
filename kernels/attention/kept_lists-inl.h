// Lists of kept entries by key, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
#endif

#include <algorithm>
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
      const auto kept = hn::LoadMaskBits(d, word);
      hn::StoreU(hn::Compress(channel, kept), d, places + n);
      n += static_cast<int>(hn::CountTrue(d, kept));
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
