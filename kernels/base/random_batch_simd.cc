#include "kernels/base/random.h"
#include "kernels/base/random_batch.h"
#include "kernels/base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/base/random_batch_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D64 = hn::CappedTag<uint64_t, 8>;
using D32 = hn::RepartitionToNarrow<D64>;
using V = hn::Vec<D64>;
constexpr int kLanes = hn::MaxLanes(D64());
constexpr int kVectors = 4;  // in flight: a round is a chain of a multiplication and two exclusive ors

HWY_INLINE V Product(V a, uint32_t factor) { return hn::MulEven(hn::BitCast(D32(), a), hn::Set(D32(), factor)); }

// Philox 4x32-10 as in random.cc, a draw in each 64-bit lane. Every word of the state is the lower half of its lane;
// what gathers in the upper halves is never looked at.
struct Words {
  V c0, c1, c2, c3;

  HWY_INLINE void Round(V k0, V k1) {
    const V p0 = Product(c0, 0xD2511F53), p1 = Product(c2, 0xCD9E8D57);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), k0);
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), k1);
    c1 = p1;
    c3 = p0;
  }
};

void Bits(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, uint64_t* bits) {
  const D64 d;
  const V low = hn::Set(d, 0xffffffffu);
  int64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
    Words words[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const V index = hn::Add(hn::Set(d, first + static_cast<uint64_t>(i + v * kLanes)), hn::Iota(d, 0));
      words[v] = {index, hn::ShiftRight<32>(index), hn::Set(d, stream), hn::Set(d, stream >> 32)};
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (Words& w : words) w.Round(hn::Set(d, k0), hn::Set(d, k1));
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(hn::Or(hn::ShiftLeft<32>(words[v].c0), hn::And(words[v].c1, low)), d, bits + i + v * kLanes);
    }
  }
  const CounterRng rng(seed, stream);
  for (; i < n; ++i) bits[i] = rng.Bits(first + static_cast<uint64_t>(i));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Bits);

void RandomBits(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, uint64_t* bits) {
  HWY_DYNAMIC_DISPATCH(Bits)(seed, stream, first, n, bits);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
