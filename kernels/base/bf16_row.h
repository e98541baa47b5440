#ifndef FILIGREE_KERNELS_BASE_BF16_ROW_H_
#define FILIGREE_KERNELS_BASE_BF16_ROW_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/base/tile.h"

// Tiles whose numbers are kept as bf16, the upper half of a float: half the memory of kernels/base/tile.h. Only for
// keeping: arithmetic widens them to fp32, which is exact.
//
// A row is 32 words, and a word holds two tokens 16 apart: word 16 h + i (h 0 or 1, i below 16) has token 32 h + i in
// its lower half and token 32 h + 16 + i in its upper half. So a vector of words becomes two vectors of consecutive
// tokens by a shift and by a mask, whatever the length of vectors, and nothing crosses lanes.

namespace filigree::kernels {

inline constexpr int kBf16RowWords = kTileTokens / 2;

// The float of token t of a row.
inline float Bf16At(const uint32_t* row, int t) {
  const uint32_t word = row[t / 32 * 16 + t % 16];
  return std::bit_cast<float>(t & 16 ? word & 0xffff0000u : word << 16);
}

// Views; the memory is the caller's and 64-byte aligned.
struct ConstBf16Tile {
  const uint32_t* data = nullptr;
  int channels = 0;

  const uint32_t* row(int c) const { return data + static_cast<size_t>(c) * kBf16RowWords; }
  float at(int c, int t) const { return Bf16At(row(c), t); }
  // Channels [first, first + count) as a tile of their own. Of no tile: none.
  ConstBf16Tile rows(int first, int count) const { return {data == nullptr ? nullptr : row(first), count}; }
};

struct Bf16Tile {
  uint32_t* data = nullptr;
  int channels = 0;

  uint32_t* row(int c) const { return data + static_cast<size_t>(c) * kBf16RowWords; }
  float at(int c, int t) const { return Bf16At(row(c), t); }
  Bf16Tile rows(int first, int count) const { return {data == nullptr ? nullptr : row(first), count}; }
  operator ConstBf16Tile() const { return {data, channels}; }
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_BF16_ROW_H_
