#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/gradcodec/bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gradcodec/bf16_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;  // compares faster than unsigned
using DU = hn::RebindToUnsigned<DF>;
using DH = hn::Rebind<uint16_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
constexpr int64_t kLanes = hn::MaxLanes(DF());

constexpr int32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000, kLargestBf16 = 0x7f7f0000;

HWY_INLINE VI MagnitudeOf(VF x) { return hn::And(hn::BitCast(DI(), x), hn::Set(DI(), kMagnitude)); }

// The bf16 nearest to x, in the upper half of a float. Rounding is one addition: just below half a step, and one more
// where the upper half is odd. The hardware's own conversion takes subnormals for zero.
HWY_INLINE VI Rounded(VF x) {
  const DI di;
  const VI bits = hn::BitCast(di, x), magnitude = MagnitudeOf(x), infinity = hn::Set(di, kInfinity);
  const VI odd = hn::And(hn::ShiftRight<16>(magnitude), hn::Set(di, 1));
  const VI carried = hn::Add(hn::Add(magnitude, hn::Set(di, 0x7fff)), odd);
  const VI upper = hn::AndNot(hn::Set(di, 0xffff), carried);
  const VI finite = hn::Min(upper, hn::Set(di, kLargestBf16));
  const VI special = hn::IfThenElse(hn::Gt(magnitude, infinity), hn::Set(di, 0x7fc00000), infinity);
  const VI rounded = hn::IfThenElse(hn::Lt(magnitude, infinity), finite, special);
  return hn::Or(rounded, hn::AndNot(hn::Set(di, kMagnitude), bits));
}

HWY_INLINE void StoreUpper(VI x, uint16_t* out) {
  hn::StoreU(hn::TruncateTo(DH(), hn::ShiftRight<16>(hn::BitCast(DU(), x))), DH(), out);
}

HWY_INLINE VF LoadBf16(const uint16_t* x) {
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), hn::LoadU(DH(), x))));
}

// In all of them the elements after the last whole vector go through the reference, whose bits are the same.
void EncodeWithFeedbackRange(int64_t n, const float* gradient, float* residual, uint16_t* out) {
  const DF df;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF value = hn::Add(hn::LoadU(df, gradient + i), hn::LoadU(df, residual + i));
    const VI rounded = Rounded(value);
    StoreUpper(rounded, out + i);
    const VF rest = hn::Sub(value, hn::BitCast(df, rounded));
    const auto finite = hn::Lt(MagnitudeOf(value), hn::Set(DI(), kInfinity));
    hn::StoreU(hn::IfThenElseZero(hn::RebindMask(df, finite), rest), df, residual + i);
  }
  ref::EncodeBf16WithFeedback(n - i, gradient + i, residual + i, out + i);
}

void EncodeRange(int64_t n, const float* x, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) StoreUpper(Rounded(hn::LoadU(DF(), x + i)), out + i);
  ref::EncodeBf16(n - i, x + i, out + i);
}

void DecodeRange(int64_t n, const uint16_t* x, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(LoadBf16(x + i), DF(), y + i);
  ref::DecodeBf16(n - i, x + i, y + i);
}

void AddRange(int64_t n, const uint16_t* x, float* y) {
  const DF df;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Add(hn::LoadU(df, y + i), LoadBf16(x + i)), df, y + i);
  ref::AddBf16(n - i, x + i, y + i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(EncodeWithFeedbackRange);
HWY_EXPORT(EncodeRange);
HWY_EXPORT(DecodeRange);
HWY_EXPORT(AddRange);

namespace {

TraceWork WorkOf(int64_t n, double flops, double bytes) {
  const auto elements = static_cast<double>(n);
  return {.flops = flops * elements, .bytes = bytes * elements, .level = TraceLevel::kMemory};
}

}  // namespace

void EncodeBf16WithFeedback(int64_t n, const float* gradient, float* residual, uint16_t* out) {
  const TraceSpan span("encode_bf16", [&] { return WorkOf(n, 2, 14); });
  HWY_DYNAMIC_DISPATCH(EncodeWithFeedbackRange)(n, gradient, residual, out);
}

void EncodeBf16(int64_t n, const float* x, uint16_t* out) {
  const TraceSpan span("encode_bf16", [&] { return WorkOf(n, 0, 6); });
  HWY_DYNAMIC_DISPATCH(EncodeRange)(n, x, out);
}

void DecodeBf16(int64_t n, const uint16_t* x, float* y) {
  const TraceSpan span("decode_bf16", [&] { return WorkOf(n, 0, 6); });
  HWY_DYNAMIC_DISPATCH(DecodeRange)(n, x, y);
}

void AddBf16(int64_t n, const uint16_t* x, float* y) {
  const TraceSpan span("add_bf16", [&] { return WorkOf(n, 1, 10); });
  HWY_DYNAMIC_DISPATCH(AddRange)(n, x, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
