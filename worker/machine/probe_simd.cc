#include "kernels/base/simd_targets.h"
#include "worker/machine/probe.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/machine/probe_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::machine {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr size_t kLanes = hn::MaxLanes(D());

// Twelve chains: enough for two units of latency four or five, few enough for AVX2's sixteen registers.
double MultiplyAddLoop(int64_t rounds, float* sink) {
  const D d;
  constexpr int kChains = 12;
  const V factor = hn::Set(d, 0.999999f), term = hn::Set(d, 1e-7f);
  V x0 = hn::Iota(d, 1.0f), x1 = hn::Iota(d, 2.0f), x2 = hn::Iota(d, 3.0f), x3 = hn::Iota(d, 4.0f);
  V x4 = hn::Iota(d, 5.0f), x5 = hn::Iota(d, 6.0f), x6 = hn::Iota(d, 7.0f), x7 = hn::Iota(d, 8.0f);
  V x8 = hn::Iota(d, 9.0f), x9 = hn::Iota(d, 10.0f), xa = hn::Iota(d, 11.0f), xb = hn::Iota(d, 12.0f);
  for (int64_t i = 0; i < rounds; ++i) {
    x0 = hn::MulAdd(x0, factor, term), x1 = hn::MulAdd(x1, factor, term);
    x2 = hn::MulAdd(x2, factor, term), x3 = hn::MulAdd(x3, factor, term);
    x4 = hn::MulAdd(x4, factor, term), x5 = hn::MulAdd(x5, factor, term);
    x6 = hn::MulAdd(x6, factor, term), x7 = hn::MulAdd(x7, factor, term);
    x8 = hn::MulAdd(x8, factor, term), x9 = hn::MulAdd(x9, factor, term);
    xa = hn::MulAdd(xa, factor, term), xb = hn::MulAdd(xb, factor, term);
  }
  const V sum01 = hn::Add(hn::Add(x0, x1), hn::Add(x2, x3)), sum23 = hn::Add(hn::Add(x4, x5), hn::Add(x6, x7));
  *sink = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum01, sum23), hn::Add(hn::Add(x8, x9), hn::Add(xa, xb)))));
  return 2.0 * kChains * kLanes * static_cast<double>(rounds);
}

// Integer sums: one cycle of latency, so that four chains keep up with two loads a cycle. Loads are what is timed.
void ReadLoop(const float* data, size_t n, float* sink) {
  const hn::Repartition<uint32_t, D> d;
  const uint32_t* p = reinterpret_cast<const uint32_t*>(data);
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
  for (size_t i = 0; i < n; i += 8 * kLanes) {
    a = hn::Add(a, hn::Load(d, p + i)), b = hn::Add(b, hn::Load(d, p + i + kLanes));
    c = hn::Add(c, hn::Load(d, p + i + 2 * kLanes)), e = hn::Add(e, hn::Load(d, p + i + 3 * kLanes));
    a = hn::Add(a, hn::Load(d, p + i + 4 * kLanes)), b = hn::Add(b, hn::Load(d, p + i + 5 * kLanes));
    c = hn::Add(c, hn::Load(d, p + i + 6 * kLanes)), e = hn::Add(e, hn::Load(d, p + i + 7 * kLanes));
  }
  // Not their sum: the compiler's header adds signed numbers, which must not overflow.
  *sink = static_cast<float>(hn::GetLane(hn::MaxOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e)))));
}

void UpdateLoop(float* data, size_t n) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  for (size_t i = 0; i < n; i += 4 * kLanes) {
    for (size_t j = i; j < i + 4 * kLanes; j += kLanes) hn::Store(hn::Add(hn::Load(d, data + j), one), d, data + j);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::machine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::machine {

HWY_EXPORT(MultiplyAddLoop);
HWY_EXPORT(ReadLoop);
HWY_EXPORT(UpdateLoop);

double MultiplyAdd(int64_t rounds, float* sink) { return HWY_DYNAMIC_DISPATCH(MultiplyAddLoop)(rounds, sink); }

void ReadOnce(const float* data, size_t n, float* sink) { HWY_DYNAMIC_DISPATCH(ReadLoop)(data, n, sink); }

void UpdateOnce(float* data, size_t n) { HWY_DYNAMIC_DISPATCH(UpdateLoop)(data, n); }

}  // namespace filigree::machine
#endif  // HWY_ONCE
