#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/digest/digest.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/digest/digest_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using DU = hn::CappedTag<uint32_t, 16>;
using DQ = hn::RepartitionToWide<DU>;
using VU = hn::Vec<DU>;
using VQ = hn::Vec<DQ>;
constexpr int64_t kLanes = hn::MaxLanes(DU());

// Sums of products of even and odd lanes: of integers, so their order does not matter.
struct Sums {
  VQ first, second;
};

HWY_INLINE VQ Products(VU a, VU b) { return hn::Add(hn::MulEven(a, b), hn::MulEven(hn::DupOdd(a), hn::DupOdd(b))); }

template <int kArrays, class Load, class Index>
HWY_INLINE void AddVector(Load load, Index index, Sums* sums) {
  const DU d;
  VU x = hn::Mul(hn::Add(index, hn::Set(d, 0x7f4a7c15u)), hn::Set(d, 0x9e3779b1u));
  x = hn::Xor(x, hn::ShiftRight<15>(x));
  x = hn::Mul(x, hn::Set(d, 0x85ebca77u));
  x = hn::Xor(x, hn::ShiftRight<13>(x));
  VU y = hn::Mul(x, hn::Set(d, 0xc2b2ae3du));
  y = hn::Xor(y, hn::ShiftRight<16>(y));
  const VU one = hn::Set(d, 1), y_odd = hn::Or(y, one), x_odd = hn::Or(hn::RotateRight<16>(x), one);
  for (int a = 0; a < kArrays; ++a) {
    const VU bits = load(a);
    const auto some = hn::Ne(bits, hn::Zero(d));
    sums[a].first = hn::Add(sums[a].first, Products(hn::IfThenElseZero(some, hn::Xor(bits, x)), y_odd));
    sums[a].second = hn::Add(sums[a].second, Products(hn::IfThenElseZero(some, hn::Add(bits, y)), x_odd));
  }
}

// Wraps around. SumOfLanes adds signed numbers in the compiler's headers, and those must not overflow.
HWY_INLINE uint64_t Total(VQ sums) {
  alignas(64) uint64_t lanes[hn::MaxLanes(DQ())];
  hn::Store(sums, DQ(), lanes);
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total += lane;
  return total;
}

template <int kSums>
HWY_INLINE void ClearAll(Sums* sums) {
  for (int a = 0; a < kSums; ++a) sums[a].first = sums[a].second = hn::Zero(DQ());
}

HWY_INLINE void AddTotal(const Sums& sums, Digest& digest) {
  digest.first += Total(sums.first);
  digest.second += Total(sums.second);
}

HWY_INLINE const uint32_t* BitsAt(const float* array, int64_t j) {
  return reinterpret_cast<const uint32_t*>(array) + j;
}

template <int kArrays>
HWY_INLINE void AddRangeOf(const float* const* arrays, int64_t n, uint32_t index, Digest* digests) {
  const DU d;
  Sums sums[kArrays];
  ClearAll<kArrays>(sums);
  const VU first = hn::Iota(d, index);  // is made in memory: once
  const auto indices = [&](int64_t j) HWY_ATTR { return hn::Add(first, hn::Set(d, static_cast<uint32_t>(j))); };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    AddVector<kArrays>([&](int a) HWY_ATTR { return hn::LoadU(d, BitsAt(arrays[a], j)); }, indices(j), sums);
  }
  if (j < n) {  // lanes beyond the end are 0 and count as nothing
    const auto here = hn::FirstN(d, static_cast<size_t>(n - j));
    AddVector<kArrays>([&](int a) HWY_ATTR { return hn::MaskedLoad(here, d, BitsAt(arrays[a], j)); }, indices(j), sums);
  }
  for (int a = 0; a < kArrays; ++a) AddTotal(sums[a], digests[a]);
}

void AddRange(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* digests) {
  if (count == 1) AddRangeOf<1>(arrays, n, index, digests);
  if (count == 2) AddRangeOf<2>(arrays, n, index, digests);
  if (count == 3) AddRangeOf<3>(arrays, n, index, digests);
}

// kLanes bits of a bitmap from bit `at`, of which the first n are there.
HWY_INLINE hn::Mask<DU> MaskAt(const uint64_t* bitmap, int64_t at, int64_t n) {
  const int64_t shift = at % 64;
  uint64_t bits = bitmap[at / 64] >> shift;
  if (shift + n > 64) bits |= bitmap[at / 64 + 1] << (64 - shift);
  uint8_t bytes[8];
  std::memcpy(bytes, &bits, sizeof(bits));
  return hn::LoadMaskBits(DU(), bytes);
}

// Entries [first, first + n), which stand at indices[0 .. n).
template <int kArrays, bool kMask>
HWY_INLINE void AddBlock(const EntryArrays& of, int64_t first, int64_t n, const uint32_t* indices, Sums* sums) {
  const DU d;
  const VU one = hn::Set(d, 1);
  for (int64_t j = 0; j < n; j += kLanes) {
    const int64_t e = first + j, lanes = std::min(kLanes, n - j);
    const auto here = hn::FirstN(d, static_cast<size_t>(lanes));
    const bool all = lanes == kLanes;
    const auto load = [&](int a) HWY_ATTR {
      if (a == kArrays) return hn::IfThenElseZero(here, one);
      if (a > kArrays) return hn::IfThenElseZero(hn::And(here, MaskAt(of.kept, e, lanes)), one);
      return all ? hn::LoadU(d, BitsAt(of.arrays[a], e)) : hn::MaskedLoad(here, d, BitsAt(of.arrays[a], e));
    };
    AddVector<kArrays + (kMask ? 2 : 1)>(load, hn::LoadU(d, indices + j), sums);
  }
}

// Entries follow one another over runs: their indices gather until there are enough for a long loop.
template <int kArrays, bool kMask>
HWY_INLINE void AddRuns(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& digests) {
  constexpr int64_t kBlock = 512;
  const DU d;
  const hn::Rebind<uint16_t, DU> narrow;
  HWY_ALIGN uint32_t indices[kBlock + kLanes];  // whole vectors are written, also past the last
  Sums sums[kArrays + 2];
  ClearAll<kArrays + 2>(sums);
  int64_t first = count > 0 ? runs[0].begin : 0, gathered = 0;
  const auto add = [&]() HWY_ATTR {
    AddBlock<kArrays, kMask>(of, first, gathered, indices, sums);
    first += gathered;
    gathered = 0;
  };
  for (int64_t r = 0; r < count; ++r) {
    const VU index = hn::Set(d, runs[r].index);
    for (int64_t e = runs[r].begin, end = runs[r].end; e < end;) {
      const int64_t size = std::min(end - e, kBlock - gathered);
      for (int64_t j = 0; j < size; j += kLanes) {
        const VU cols = hn::PromoteTo(d, hn::LoadU(narrow, of.col_indices + e + j));
        hn::StoreU(hn::Add(index, cols), d, indices + gathered + j);
      }
      gathered += size;
      e += size;
      if (gathered == kBlock) add();
    }
  }
  if (gathered > 0) add();
  for (int a = 0; a < kArrays; ++a) AddTotal(sums[a], digests.arrays[a]);
  AddTotal(sums[kArrays], digests.entries);
  if (kMask) AddTotal(sums[kArrays + 1], digests.kept);
}

template <int kArrays>
HWY_INLINE void AddMasked(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& digests) {
  if (of.kept == nullptr) return AddRuns<kArrays, false>(of, runs, count, digests);
  AddRuns<kArrays, true>(of, runs, count, digests);
}

void AddAllRuns(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& digests) {
  if (of.count == 0) AddMasked<0>(of, runs, count, digests);
  if (of.count == 1) AddMasked<1>(of, runs, count, digests);
  if (of.count == 2) AddMasked<2>(of, runs, count, digests);
  if (of.count == 3) AddMasked<3>(of, runs, count, digests);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(AddRange);
HWY_EXPORT(AddAllRuns);

void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums) {
  const TraceSpan span(
      "digest", [&] { return TraceWork{.bytes = 4.0 * count * static_cast<double>(n), .level = TraceLevel::kMemory}; });
  CHECK(1 <= count && count <= kMostDigestedArrays, "{} arrays", count);
  HWY_DYNAMIC_DISPATCH(AddRange)(arrays, count, n, index, sums);
}

void AddEntries(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& sums) {
  const TraceSpan span("digest", [&] {
    const double entries = count > 0 ? runs[count - 1].end - runs[0].begin : 0;
    return TraceWork{.bytes = (4.0 * of.count + 2 + (of.kept == nullptr ? 0 : 0.125)) * entries,
                     .level = TraceLevel::kMemory};
  });
  CHECK(0 <= of.count && of.count <= kMostDigestedArrays, "{} arrays", of.count);
  for (int64_t r = 1; r < count; ++r) CHECK(runs[r].begin == runs[r - 1].end, "run {} does not follow the last", r);
  HWY_DYNAMIC_DISPATCH(AddAllRuns)(of, runs, count, sums);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
