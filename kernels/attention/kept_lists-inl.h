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

// Fills counts and lists, channels ascending, from one word of bits a channel; then sorts.
inline void ListByKey(const uint64_t* bits, int channels, KeyLists& lists) {
  const hn::CappedTag<int32_t, 16> d;
  constexpr int kStep = hn::MaxLanes(d);
  lists.Reserve(channels);
  std::memset(lists.count, 0, sizeof(lists.count));
  for (int c0 = 0; c0 < channels; c0 += 16) {
    alignas(64) uint16_t by_key[kTileTokens];
    TransposeBits(bits + c0, std::min(16, channels - c0), by_key);
    for (int h = 0; h < 16; h += kStep) {
      const auto offsets = hn::Mul(hn::Iota(d, c0 + h), hn::Set(d, kTileTokens));
      for (int key = 0; key < kTileTokens; ++key) {
        const uint8_t* word = reinterpret_cast<const uint8_t*>(by_key + key) + h / 8;
        const auto kept = hn::LoadMaskBits(d, word);
        hn::StoreU(hn::Compress(offsets, kept), d, lists.offsets(key) + lists.count[key]);
        lists.count[key] += std::popcount(static_cast<uint16_t>(kStep == 16 ? by_key[key] : *word));
      }
    }
  }
  lists.SortByCount();
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_INL_H_
