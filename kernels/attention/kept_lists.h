#ifndef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_
#define FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_

#include <array>
#include <cstdint>

#include "kernels/attention/attention_check.h"
#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"

// Where one head's k or v has entries in a tile of 64 keys: by channel, one word of bits each, and by key, as a list.

namespace filigree::kernels {

inline constexpr int kBlockKeys = 16;  // the causal diagonal is cut into blocks of 16 keys

// What stands for kept bits that are not given: every entry, or those that are not 0.
enum class WithoutBits { kAll, kNonzero };

// One word a channel of x. Keys at and after `keys` have no entries.
void ReadKeptBits(ConstTile x, const uint64_t* kept, WithoutBits without_bits, int keys, uint64_t* bits);

// For every set of eight lanes, a bit each: their numbers, ascending, four bits each from the lowest on.
inline constexpr std::array<uint32_t, 256> kLanesToFront = [] {
  std::array<uint32_t, 256> packed = {};
  for (uint32_t set = 0; set < packed.size(); ++set) {
    int n = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      if ((set >> lane & 1) != 0) packed[set] |= lane << 4 * n++;
    }
  }
  return packed;
}();

// The entries of a tile, key after key, channels ascending: place c * 64 + key within the tile, and value. Written by
// ListByKey (kept_lists-inl.h).
//
// Keys are visited in the order of their counts, so that the loop over a key's list ends where the processor expects.
struct KeyLists {
  static constexpr int kSlack = 16;  // a list is written in whole vectors

  Buffer<int32_t> places;
  Buffer<float> values;
  int first[kTileTokens + 1] = {};  // entries of the keys before this one
  int count[kTileTokens] = {};
  uint8_t order[kTileTokens] = {};        // all 64 keys, by ascending count
  uint8_t block_order[kTileTokens] = {};  // the same within each block of 16 keys

  int size() const { return first[kTileTokens]; }

  void Reserve(int channels);
  // `order` and `block_order` from `count`.
  void SortByCount();
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_
