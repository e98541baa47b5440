#include <algorithm>
#include <bit>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/base/simd_targets.h"
#include "kernels/weight_topk/scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/weight_topk/unit_top_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/weight_topk/words-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

// Bits that at least `count` entries of a row reach, from the largest of every 16th or 64th entry: few others reach
// them, so that few have to be sorted. 0 where that is not worth while.
HWY_INLINE int32_t ReachedBy(const float* w, int64_t n, int64_t count) {
  if (count > 32 || n < 128) return 0;
  VI largest[kWordVectors];
  for (int v = 0; v < kWordVectors; ++v) largest[v] = LoadBits(w + v * kLanes);
  for (int64_t i = 64; i + 64 <= n; i += 64) {
    for (int v = 0; v < kWordVectors; ++v) largest[v] = hn::Max(largest[v], LoadBits(w + i + v * kLanes));
  }
  alignas(64) int32_t each[64];
  for (int v = 0; v < kWordVectors; ++v) hn::Store(largest[v], DI(), each + v * kLanes);
  int size = 64;
  for (; size > 16 && count <= size / 8; size /= 2) {
    for (int i = 0; i < size / 2; ++i) each[i] = std::max(each[i], each[i + size / 2]);
  }
  std::nth_element(each, each + count - 1, each + size, std::greater<>());
  return each[count - 1];
}

void TopOf(const float* w, int64_t index, int64_t n, int64_t count, Entry* best) {
  std::fill_n(best, count, 0);
  int32_t bound = ReachedBy(w, n, count) - 1;
  const auto take = [&](int64_t i) {
    const int32_t bits = MagnitudeBits(w[i]);
    if (bits <= bound) return;  // equal ones have a higher index than those there
    InsertEntry(MakeEntry(bits, index + i), best, count);
    if (best[count - 1] != 0) bound = BitsOf(best[count - 1]);
  };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (uint64_t word = GreaterThan(w + i, bound); word != 0; word &= word - 1) take(i + std::countr_zero(word));
  }
  for (; i < n; ++i) take(i);
}

// largest[i][c]: the bits of column c's i-th largest entry, by a network of minima and maxima: no branches.
void LargestOfColumns(const float* w, int64_t rows, int64_t cols, int64_t n, int64_t count, int32_t* largest) {
  const DI d;
  std::fill_n(largest, n * count, -1);
  for (int64_t r = 0; r < rows; ++r, w += cols) {
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      VI bits = LoadBits(w + c);
      for (int64_t i = 0; i < count; ++i) {
        int32_t* at = largest + i * n + c;
        const VI here = hn::LoadU(d, at);
        hn::StoreU(hn::Max(here, bits), d, at);
        bits = hn::Min(here, bits);
      }
    }
    for (; c < n; ++c) {
      int32_t bits = MagnitudeBits(w[c]);
      for (int64_t i = 0; i < count; ++i) {
        int32_t& here = largest[i * n + c];
        if (here < bits) std::swap(here, bits);
      }
    }
  }
}

void TopOfStrip(const float* w, int64_t rows, int64_t cols, int64_t first, int64_t n, int64_t count, Entry* best) {
  const DI d;
  std::vector<int32_t> largest(n * count);
  LargestOfColumns(w + first, rows, cols, n, count, largest.data());
  // bits > bounds[c] enter: those that reach the last of the largest, then, once all are there, none that only equal
  // it.
  int32_t* bounds = largest.data() + n * (count - 1);
  for (int64_t c = 0; c < n; ++c) --bounds[c];
  std::fill_n(best, n * count, 0);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t index = r * cols + first;
    const float* row = w + index;
    const auto take = [&](int64_t c) {
      Entry* column = best + c * count;
      InsertEntry(MakeEntry(MagnitudeBits(row[c]), index + c), column, count);
      if (column[count - 1] != 0) bounds[c] = BitsOf(column[count - 1]);
    };
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      uint64_t word = BitsOfMask(hn::Gt(LoadBits(row + c), hn::LoadU(d, bounds + c)));
      for (; word != 0; word &= word - 1) take(c + std::countr_zero(word));
    }
    for (; c < n; ++c) {
      if (MagnitudeBits(row[c]) > bounds[c]) take(c);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(TopOf);
HWY_EXPORT(TopOfStrip);

void TopOfRow(const float* w, int64_t index, int64_t n, int64_t count, Entry* best) {
  HWY_DYNAMIC_DISPATCH(TopOf)(w, index, n, count, best);
}

void TopOfColumns(const float* w, int64_t rows, int64_t cols, int64_t first, int64_t n, int64_t count, Entry* best) {
  HWY_DYNAMIC_DISPATCH(TopOfStrip)(w, rows, cols, first, n, count, best);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
