#include <bit>

#include "kernels/base/simd_targets.h"
#include "worker/exchange/shard_scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/exchange/shard_scan_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/weight_topk/words-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::exchange {
namespace HWY_NAMESPACE {
namespace {

using kernels::MagnitudeBits;

// Bits of entries w[0, n) whose magnitude exceeds the threshold, n <= 64.
HWY_INLINE uint64_t Above(const float* w, int64_t n, int32_t threshold) {
  if (n == 64) return kernels::HWY_NAMESPACE::GreaterThan(w, threshold);
  uint64_t word = 0;
  for (int64_t i = 0; i < n; ++i) word |= static_cast<uint64_t>(MagnitudeBits(w[i]) > threshold) << i;
  return word;
}

// Sets those bits in a bitmap, from `index` on.
HWY_INLINE void Set(uint64_t word, int64_t index, uint64_t* kept) {
  if (word == 0) return;
  const int64_t offset = index % 64;
  kept[index / 64] |= word << offset;
  if (offset > 0 && word >> (64 - offset) != 0) kept[index / 64 + 1] |= word >> (64 - offset);
}

uint64_t Scan(const float* w, int64_t index, int64_t n, const Look& look, uint64_t* inside, EntryList& list,
              uint64_t* kept) {
  const auto below = static_cast<int32_t>(look.begin - 1), last = static_cast<int32_t>(look.end - 1);
  uint64_t count = 0;
  for (int64_t first = 0; first < n; first += 64) {
    const int64_t size = n - first < 64 ? n - first : 64;
    const uint64_t above = Above(w + first, size, last);
    count += static_cast<uint64_t>(std::popcount(above));
    if (kept != nullptr) Set(above, index + first, kept);
    for (uint64_t word = Above(w + first, size, below) & ~above; word != 0; word &= word - 1) {
      const int64_t i = first + std::countr_zero(word);
      const int32_t bits = MagnitudeBits(w[i]);
      ++inside[(bits - look.begin) >> look.shift];
      list.Add(kernels::MakeEntry(bits, index + i));
    }
  }
  return count;
}

void Mark(const float* w, int64_t index, int64_t n, int64_t least, uint64_t* kept) {
  for (int64_t first = 0; first < n; first += 64) {
    const int64_t size = n - first < 64 ? n - first : 64;
    Set(Above(w + first, size, static_cast<int32_t>(least - 1)), index + first, kept);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::exchange
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::exchange {

HWY_EXPORT(Scan);
HWY_EXPORT(Mark);

uint64_t ScanRun(const float* w, int64_t index, int64_t n, const Look& look, uint64_t* inside, EntryList& list,
                 uint64_t* kept) {
  return HWY_DYNAMIC_DISPATCH(Scan)(w, index, n, look, inside, list, kept);
}

void MarkRun(const float* w, int64_t index, int64_t n, int64_t least, uint64_t* kept) {
  HWY_DYNAMIC_DISPATCH(Mark)(w, index, n, least, kept);
}

}  // namespace filigree::exchange
#endif  // HWY_ONCE
