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

template <int kArrays, class Indices>
HWY_INLINE void AddArrays(const float* const* arrays, int64_t n, Indices indices, Digest* digests) {
  const DU d;
  Sums sums[kArrays];
  for (Sums& s : sums) s.first = s.second = hn::Zero(DQ());
  const auto at = [&](int a, int64_t j) { return reinterpret_cast<const uint32_t*>(arrays[a]) + j; };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    AddVector<kArrays>([&](int a) HWY_ATTR { return hn::LoadU(d, at(a, j)); }, indices(j, kLanes), sums);
  }
  if (j < n) {  // lanes beyond the end are 0 and count as nothing
    const auto here = hn::FirstN(d, static_cast<size_t>(n - j));
    AddVector<kArrays>([&](int a) HWY_ATTR { return hn::MaskedLoad(here, d, at(a, j)); }, indices(j, n - j), sums);
  }
  for (int a = 0; a < kArrays; ++a) {
    digests[a].first += Total(sums[a].first);
    digests[a].second += Total(sums[a].second);
  }
}

template <class Indices>
HWY_INLINE void AddSome(const float* const* arrays, int count, int64_t n, Indices indices, Digest* digests) {
  if (count == 1) AddArrays<1>(arrays, n, indices, digests);
  if (count == 2) AddArrays<2>(arrays, n, indices, digests);
  if (count == 3) AddArrays<3>(arrays, n, indices, digests);
  if (count == 4) AddArrays<4>(arrays, n, indices, digests);
  if (count == 5) AddArrays<5>(arrays, n, indices, digests);
}

void AddRange(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* digests) {
  const VU first = hn::Iota(DU(), index);  // is made in memory: once
  AddSome(
      arrays, count, n,
      [first](int64_t j, int64_t) HWY_ATTR { return hn::Add(first, hn::Set(DU(), static_cast<uint32_t>(j))); },
      digests);
}

void AddIndexed(const float* const* arrays, int count, const uint32_t* indices, int64_t n, Digest* digests) {
  AddSome(
      arrays, count, n,
      [indices](int64_t j, int64_t lanes) HWY_ATTR {
        if (lanes >= kLanes) return hn::LoadU(DU(), indices + j);
        return hn::MaskedLoad(hn::FirstN(DU(), static_cast<size_t>(lanes)), DU(), indices + j);
      },
      digests);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(AddRange);
HWY_EXPORT(AddIndexed);

namespace {

TraceWork WorkOf(int count, int64_t n, int index_bytes) {
  return {.bytes = static_cast<double>(n) * (4 * count + index_bytes), .level = TraceLevel::kMemory};
}

}  // namespace

void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums) {
  const TraceSpan span("digest", [&] { return WorkOf(count, n, 0); });
  CHECK(1 <= count && count <= kMostDigestedArrays, "{} arrays", count);
  HWY_DYNAMIC_DISPATCH(AddRange)(arrays, count, n, index, sums);
}

void AddToDigests(const float* const* arrays, int count, const uint32_t* indices, int64_t n, Digest* sums) {
  const TraceSpan span("digest", [&] { return WorkOf(count, n, 4); });
  CHECK(1 <= count && count <= kMostDigestedArrays, "{} arrays", count);
  HWY_DYNAMIC_DISPATCH(AddIndexed)(arrays, count, indices, n, sums);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
