#ifndef FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_
#define FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"

// Where one head's k or v has entries in a tile of 64 keys, listed by channel (one word of bits each) and by key.
//
// Lists by key hold offsets c * 64: the distance of channel c's row from the tile's first, in every tile of the head.
// Keys are visited in the order of their counts, so that the loop over a key's list ends where the processor expects.

namespace filigree::kernels {

inline constexpr int kBlockKeys = 16;  // the causal diagonal is cut into blocks of 16 keys

class KeptLists {
 public:
  // Room for heads of up to `channels` channels; grows only.
  void Reserve(int channels);

  // kept: `channels` words, or null for what the caller calls everything: kAll lists every entry, kNonzero those of x
  // that are not 0. Keys at and after `keys` have empty lists.
  enum class WithoutBits { kAll, kNonzero };
  void Build(ConstTile x, const uint64_t* kept, WithoutBits without_bits, int keys);

  uint64_t bits(int c) const { return bits_[c]; }
  const uint16_t* offsets(int key) const { return offsets_.data() + static_cast<size_t>(key) * channels_; }
  int count(int key) const { return count_[key]; }
  // All 64 keys, by ascending count; and the same within each block of 16 keys.
  const uint8_t* order() const { return order_; }
  const uint8_t* block_order() const { return block_order_; }

 private:
  void ListByKey();
  void SortByCount();

  int channels_ = 0;
  Buffer<uint64_t> bits_;
  Buffer<uint16_t> offsets_;
  uint16_t count_[kTileTokens] = {};
  uint8_t order_[kTileTokens] = {}, block_order_[kTileTokens] = {};
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_KEPT_LISTS_H_
