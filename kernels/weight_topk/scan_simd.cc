#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/base/simd_targets.h"
#include "kernels/weight_topk/scan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/weight_topk/scan_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/weight_topk/words-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

using DB = hn::CappedTag<uint8_t, 64>;
constexpr int kByteLanes = hn::MaxLanes(DB());

// Of the entries [0, n) of a word cut short by the end of the matrix.
uint64_t GreaterThanTail(const float* w, int64_t n, int32_t threshold) {
  uint64_t word = 0;
  for (int64_t i = 0; i < n; ++i) word |= static_cast<uint64_t>(MagnitudeBits(w[i]) > threshold) << i;
  return word;
}

// The same for word `word` of a matrix.
HWY_INLINE uint64_t GreaterInMatrix(const float* w, int64_t numel, int64_t word, int32_t threshold) {
  const int64_t n = numel - word * 64;
  return n >= 64 ? GreaterThan(w + word * 64, threshold) : GreaterThanTail(w + word * 64, n, threshold);
}

// counts[i] += bit i of word, saturated.
HWY_INLINE void CountBits(uint64_t word, uint8_t* counts) {
  const DB d;
  for (int i = 0; i < 64 / kByteLanes; ++i) {
    const uint64_t part = word >> (i * kByteLanes);
    const auto mask = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&part));
    const auto one = hn::IfThenElseZero(mask, hn::Set(d, uint8_t{1}));
    uint8_t* at = counts + i * kByteLanes;
    hn::StoreU(hn::SaturatedAdd(hn::LoadU(d, at), one), d, at);
  }
}

// Room for the candidates of a word; returns where they begin.
HWY_INLINE Entry* RoomForWord(WindowFindings& found) {
  if (found.candidate_count + 64 > found.candidates.size()) [[unlikely]] {
    found.candidates.resize(found.candidates.size() * 2 + 4096);
  }
  return found.candidates.data() + found.candidate_count;
}

HWY_INLINE void AddCandidates(const float* w, int64_t index, uint64_t word, WindowFindings& found) {
  if (word == 0) return;
  Entry* out = RoomForWord(found);
  found.candidate_count += std::popcount(word);
  for (; word != 0; word &= word - 1) {
    const int64_t i = index + std::countr_zero(word);
    *out++ = MakeEntry(MagnitudeBits(w[i]), i);
  }
}

// One entry after the other, for words that cross the end of a row or of the matrix. Returns the entries above.
uint64_t ScanMixedWord(const float* w, const WeightSelection& s, const Window& window, int64_t index,
                       WindowFindings& found) {
  uint64_t above = 0, within = 0;
  const int64_t n = std::min<int64_t>(64, s.rows * s.cols - index);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = index + i;
    const int64_t unit = s.unit == Unit::kRow ? at / s.cols : s.unit == Unit::kColumn ? at % s.cols : 0;
    const int32_t bits = MagnitudeBits(w[at]);
    if (bits > window.above) {
      above |= uint64_t{1} << i;
      found.unit_above[unit] += found.unit_above[unit] < 255;
    } else if (bits > window.below[unit] << kLowerBits) {
      within |= uint64_t{1} << i;
    }
  }
  AddCandidates(w, index, within, found);
  return above;
}

// One word that lies inside a row, its first entry in (row, col). Returns the entries above.
template <Unit kUnit>
HWY_INLINE uint64_t ScanWord(const float* w, int64_t index, int64_t row, int64_t col, Window window,
                             uint8_t* unit_above, WindowFindings& found) {
  const uint64_t above = GreaterThan(w + index, window.above);
  uint64_t within;
  if constexpr (kUnit == Unit::kColumn) {
    const uint16_t* below = window.below + col;
    const hn::Rebind<uint16_t, DI> narrow;
    within = Greater(w + index, [&](int i) HWY_ATTR {
      return hn::ShiftLeft<kLowerBits>(hn::PromoteTo(DI(), hn::LoadU(narrow, below + i * kLanes)));
    });
    CountBits(above, unit_above + col);
  } else {
    within = GreaterThan(w + index, window.below[kUnit == Unit::kRow ? row : 0] << kLowerBits);
  }
  if constexpr (kUnit == Unit::kRow) {
    unit_above[row] = static_cast<uint8_t>(std::min(255, unit_above[row] + std::popcount(above)));
  }
  AddCandidates(w, index, within & ~above, found);
  return above;
}

// `window` and `unit_above` are copies: bytes may alias anything, and what `found` points to would be read again after
// every store.
template <Unit kUnit>
int64_t ScanInOrder(const float* w, const WeightSelection& s, Window window, WordRange words, uint64_t* kept,
                    uint8_t* unit_above, WindowFindings& found) {
  // Without units the matrix is one long row.
  const int64_t cols = kUnit == Unit::kNone ? s.rows * s.cols : s.cols;
  int64_t row = words.first * 64 / cols, col = words.first * 64 % cols, total = 0;
  for (int64_t word = words.first; word < words.last; ++word) {
    const bool whole = col + 64 <= cols;
    kept[word] = whole ? ScanWord<kUnit>(w, word * 64, row, col, window, unit_above, found)
                       : ScanMixedWord(w, s, window, word * 64, found);
    total += std::popcount(kept[word]);
    for (col += 64; col >= cols; col -= cols) ++row;
  }
  return total;
}

template <Unit kUnit>
void ScanWindowOf(const float* w, const WeightSelection& s, const Window& window, WordRange words, uint64_t* kept,
                  WindowFindings& found) {
  uint8_t* unit_above = found.unit_above.data();
  found.above += ScanInOrder<kUnit>(w, s, window, words, kept, unit_above, found);
}

void Scan(const float* w, const WeightSelection& selection, const Window& window, WordRange words, uint64_t* kept,
          WindowFindings& found) {
  const auto scan = selection.unit == Unit::kNone  ? ScanWindowOf<Unit::kNone>
                    : selection.unit == Unit::kRow ? ScanWindowOf<Unit::kRow>
                                                   : ScanWindowOf<Unit::kColumn>;
  scan(w, selection, window, words, kept, found);
}

int64_t Mark(const float* w, int64_t numel, int32_t threshold, WordRange words, uint64_t* kept) {
  int64_t ties = 0;
  for (int64_t word = words.first; word < words.last; ++word) {
    kept[word] = GreaterInMatrix(w, numel, word, threshold);
    ties += std::popcount(GreaterInMatrix(w, numel, word, threshold - 1) & ~kept[word]);
  }
  return ties;
}

void TakeTies(const float* w, int64_t numel, int32_t threshold, WordRange words, int64_t count, uint64_t* kept) {
  for (int64_t word = words.first; word < words.last && count > 0; ++word) {
    uint64_t ties = GreaterInMatrix(w, numel, word, threshold - 1) & ~kept[word];
    for (; ties != 0 && count > 0; ties &= ties - 1, --count) kept[word] |= ties & -ties;
  }
}

// Calls count(bits) for all entries with first <= bits <= last.
template <class Count>
HWY_INLINE void ForEachBetween(const float* w, int64_t n, int32_t first, int32_t last, Count count) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    uint64_t word = GreaterThan(w + i, first - 1) & ~GreaterThan(w + i, last);
    for (; word != 0; word &= word - 1) count(MagnitudeBits(w[i + std::countr_zero(word)]));
  }
  for (; i < n; ++i) {
    const int32_t bits = MagnitudeBits(w[i]);
    if (first <= bits && bits <= last) count(bits);
  }
}

void CountUpperBins(const float* w, int64_t n, int32_t floor, uint32_t* histogram) {
  if (floor < 0) {
    for (int64_t i = 0; i < n; ++i) ++histogram[MagnitudeBits(w[i]) >> kLowerBits];
    return;
  }
  if (floor == 0x7fffffff) return;
  ForEachBetween(w, n, floor + 1, 0x7fffffff, [&](int32_t bits) { ++histogram[bits >> kLowerBits]; });
}

void CountLowerBins(const float* w, int64_t n, int32_t upper, uint32_t* histogram) {
  const int32_t first = upper << kLowerBits;
  ForEachBetween(w, n, first, first | (kLowerBins - 1), [&](int32_t bits) { ++histogram[bits - first]; });
}

// Multiplied only where factor is not 1: even x * 1 would change the bits of a signalling NaN.
template <bool kMultiply>
void ApplyFactor(const uint64_t* kept, int64_t numel, float factor, WordRange words, float* w) {
  const DF d;
  const auto scale = hn::Set(d, factor);
  for (int64_t word = words.first; word < words.last; ++word) {
    float* at = w + word * 64;
    const int64_t n = std::min<int64_t>(64, numel - word * 64);
    if (n < 64) {
      for (int64_t i = 0; i < n; ++i) at[i] = kept[word] >> i & 1 ? (kMultiply ? at[i] * factor : at[i]) : 0.0f;
      continue;
    }
    for (int i = 0; i < kWordVectors; ++i) {
      const uint64_t part = kept[word] >> (i * kLanes);
      const auto mask = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&part));
      auto x = hn::LoadU(d, at + i * kLanes);
      if constexpr (kMultiply) x = hn::Mul(x, scale);
      hn::StoreU(hn::IfThenElseZero(mask, x), d, at + i * kLanes);
    }
  }
}

void Apply(const uint64_t* kept, int64_t numel, float factor, WordRange words, float* w) {
  (factor == 1.0f ? ApplyFactor<false> : ApplyFactor<true>)(kept, numel, factor, words, w);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Scan);
HWY_EXPORT(Mark);
HWY_EXPORT(TakeTies);
HWY_EXPORT(CountUpperBins);
HWY_EXPORT(CountLowerBins);
HWY_EXPORT(Apply);

void ScanWindow(const float* w, const WeightSelection& selection, const Window& window, WordRange words, uint64_t* kept,
                WindowFindings& found) {
  HWY_DYNAMIC_DISPATCH(Scan)(w, selection, window, words, kept, found);
}

int64_t MarkAbove(const float* w, int64_t numel, int32_t threshold, WordRange words, uint64_t* kept) {
  return HWY_DYNAMIC_DISPATCH(Mark)(w, numel, threshold, words, kept);
}

void KeepTies(const float* w, int64_t numel, int32_t threshold, WordRange words, int64_t count, uint64_t* kept) {
  HWY_DYNAMIC_DISPATCH(TakeTies)(w, numel, threshold, words, count, kept);
}

void CountUpper(const float* w, int64_t n, int32_t floor, uint32_t* histogram) {
  HWY_DYNAMIC_DISPATCH(CountUpperBins)(w, n, floor, histogram);
}

void CountLower(const float* w, int64_t n, int32_t upper, uint32_t* histogram) {
  HWY_DYNAMIC_DISPATCH(CountLowerBins)(w, n, upper, histogram);
}

void ApplyWords(const uint64_t* kept, int64_t numel, float factor, WordRange words, float* w) {
  HWY_DYNAMIC_DISPATCH(Apply)(kept, numel, factor, words, w);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
