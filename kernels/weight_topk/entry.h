#ifndef FILIGREE_KERNELS_WEIGHT_TOPK_ENTRY_H_
#define FILIGREE_KERNELS_WEIGHT_TOPK_ENTRY_H_

#include <bit>
#include <cstdint>

// Entries of a matrix as single integers whose order is the order of selection.

namespace filigree::kernels {

// Magnitudes ordered as integers: the bits of |w| sort like |w|, and NaN sorts above infinity.
inline int32_t MagnitudeBits(float w) { return std::bit_cast<int32_t>(w) & 0x7fffffff; }

// Magnitude descending, then index ascending, is Entry descending. 0 is no entry, as indices are below 2^32 - 1.
using Entry = uint64_t;
inline Entry MakeEntry(int32_t bits, int64_t index) {
  return static_cast<uint64_t>(bits) << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}
inline int32_t BitsOf(Entry e) { return static_cast<int32_t>(e >> 32); }
inline int64_t IndexOf(Entry e) { return 0xffffffffu - static_cast<uint32_t>(e); }

// Takes `e` into `best`, the `count` largest entries so far, descending. `e` must be larger than the last of them.
inline void InsertEntry(Entry e, Entry* best, int64_t count) {
  int64_t i = count - 1;
  for (; i > 0 && best[i - 1] < e; --i) best[i] = best[i - 1];
  best[i] = e;
}

inline bool IsKept(const uint64_t* kept, int64_t index) { return kept[index / 64] >> (index % 64) & 1; }
inline void Keep(int64_t index, uint64_t* kept) { kept[index / 64] |= uint64_t{1} << (index % 64); }

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_ENTRY_H_
