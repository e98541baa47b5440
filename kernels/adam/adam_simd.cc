#include "kernels/adam/adam.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adam/adam_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = hn::MaxLanes(D());

// The elements after the last whole vector go through the reference, whose bits are the same.
void AdamRange(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w) {
  const D d;
  const V lr = hn::Set(d, step.lr), eps = hn::Set(d, step.eps), decay = hn::Set(d, step.decay);
  const V new1 = hn::Set(d, static_cast<float>(1 - step.beta1)), new2 = hn::Set(d, static_cast<float>(1 - step.beta2));
  const V bias1 = hn::Set(d, step.bias1), bias2 = hn::Set(d, step.bias2);
  const V gradient_scale = hn::Set(d, step.gradient_scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V gi = hn::Mul(hn::LoadU(d, g + i), gradient_scale);
    const V m0 = hn::LoadU(d, m + i), v0 = hn::LoadU(d, v + i);
    const V mi = hn::MulAdd(new1, hn::Sub(gi, m0), m0);
    const V vi = hn::MulAdd(new2, hn::MulSub(gi, gi, v0), v0);
    const V step_size = hn::Mul(lr, hn::Div(mi, bias1));
    const V update = hn::Div(step_size, hn::Add(hn::Sqrt(hn::Div(vi, bias2)), eps));
    hn::StoreU(mi, d, m + i);
    hn::StoreU(vi, d, v + i);
    hn::StoreU(hn::Mul(hn::Sub(hn::LoadU(d, w + i), update), decay), d, w + i);
  }
  ref::Adam(step, n - i, g + i, m + i, v + i, w + i);
}

double SumOfSquaresRange(const float* g, int64_t n) {
  const hn::CappedTag<double, 8> dd;
  const hn::Rebind<float, decltype(dd)> df;
  constexpr size_t kStep = hn::MaxLanes(dd);
  alignas(64) double lane[16];
  hn::Vec<decltype(dd)> sum[16 / kStep];
  for (auto& s : sum) s = hn::Zero(dd);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 16 / kStep; ++j) {
      const auto x = hn::PromoteTo(dd, hn::LoadU(df, g + i + j * kStep));
      sum[j] = hn::MulAdd(x, x, sum[j]);  // the product of two floats is exact in double
    }
  }
  for (size_t j = 0; j < 16 / kStep; ++j) hn::Store(sum[j], dd, lane + j * kStep);
  for (int l = 0; i < n; ++i, ++l) lane[l] += static_cast<double>(g[i]) * g[i];
  for (int distance = 8; distance >= 1; distance /= 2) {
    for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
  }
  return lane[0];
}

void AddRange(const float* x, int64_t n, float* y) {
  const D d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i);
  ref::AddInPlace(x + i, n - i, y + i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(AdamRange);
HWY_EXPORT(SumOfSquaresRange);
HWY_EXPORT(AddRange);

namespace {

TraceWork WorkOf(int64_t n, double flops, double bytes) {
  const auto elements = static_cast<double>(n);
  return {.flops = flops * elements, .bytes = bytes * elements, .level = TraceLevel::kMemory};
}

}  // namespace

void Adam(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w) {
  const TraceSpan span("adam", [&] { return WorkOf(n, 14, 28); });
  HWY_DYNAMIC_DISPATCH(AdamRange)(step, n, g, m, v, w);
}

double SumOfSquares(const float* g, int64_t n) {
  const TraceSpan span("sum_of_squares", [&] { return WorkOf(n, 2, 4); });
  return HWY_DYNAMIC_DISPATCH(SumOfSquaresRange)(g, n);
}

void AddInPlace(const float* x, int64_t n, float* y) {
  const TraceSpan span("add_in_place", [&] { return WorkOf(n, 1, 12); });
  HWY_DYNAMIC_DISPATCH(AddRange)(x, n, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
