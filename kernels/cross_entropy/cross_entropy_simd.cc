#include <algorithm>
#include <limits>

#include "kernels/base/simd_targets.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/softmax_parts.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cross_entropy/cross_entropy_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/exp-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());
constexpr int kRowVectors = kTileTokens / kLanes;
constexpr int kSumBlock = 16;  // channels added in fp32 before the sum goes to double

void FindMaxima(ConstTile logits, SoftmaxPart& part) {
  const D d;
  const V lowest = hn::Set(d, std::numeric_limits<float>::lowest());  // a group may be all minus infinity
  V max[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) max[j] = hn::Max(lowest, hn::Load(d, logits.row(0) + j * kLanes));
  for (int c = 1; c < logits.channels; ++c) {
    for (int j = 0; j < kRowVectors; ++j) max[j] = hn::Max(max[j], hn::Load(d, logits.row(c) + j * kLanes));
  }
  for (int j = 0; j < kRowVectors; ++j) hn::Store(max[j], d, part.max + j * kLanes);
}

HWY_INLINE void AddToDouble(V v, double* sum) {
  const hn::Repartition<double, D> dd;
  const hn::Half<D> dh;
  constexpr size_t kHalf = hn::MaxLanes(dd);
  const auto low = hn::PromoteTo(dd, hn::LowerHalf(dh, v)), high = hn::PromoteTo(dd, hn::UpperHalf(dh, v));
  hn::Store(hn::Add(hn::Load(dd, sum), low), dd, sum);
  hn::Store(hn::Add(hn::Load(dd, sum + kHalf), high), dd, sum + kHalf);
}

// Sums e = exp(logit - max) into part.sum, a block of channels at a time while it is in L1; emit(e, i) gets every e and
// its place in the tile.
template <class Emit>
HWY_INLINE void SumExponentials(ConstTile logits, SoftmaxPart& part, Emit emit) {
  const D d;
  FindMaxima(logits, part);
  std::fill_n(part.sum, kTileTokens, 0.0);
  for (int c0 = 0; c0 < logits.channels; c0 += kSumBlock) {
    const int c1 = std::min(c0 + kSumBlock, logits.channels);
    for (int t = 0; t < kTileTokens; t += kLanes) {
      const V max = hn::Load(d, part.max + t);
      V sum = hn::Zero(d);
      for (int c = c0; c < c1; ++c) {
        const size_t i = static_cast<size_t>(c) * kTileTokens + t;
        const V e = Exp(d, hn::Sub(hn::Load(d, logits.data + i), max));
        sum = hn::Add(sum, e);
        emit(e, i);
      }
      AddToDouble(sum, part.sum + t);
    }
  }
}

// x *= factor per token, and exactly zero where the factor is zero.
void ScaleColumns(const float* factor, Tile x) {
  const D d;
  V factors[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) factors[j] = hn::Load(d, factor + j * kLanes);
  for (int c = 0; c < x.channels; ++c) {
    for (int j = 0; j < kRowVectors; ++j) {
      float* p = x.row(c) + j * kLanes;
      const V scaled = hn::Mul(hn::Load(d, p), factors[j]);
      hn::Store(hn::IfThenElseZero(hn::Ne(factors[j], hn::Zero(d)), scaled), d, p);
    }
  }
}

void Loss(ConstTile logits, SoftmaxPart& part) {
  SumExponentials(logits, part, [](V, size_t) {});
}

void Exponentials(Tile logits, SoftmaxPart& part) {
  SumExponentials(logits, part, [&](V e, size_t i) HWY_ATTR { hn::Store(e, D(), logits.data + i); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Loss);
HWY_EXPORT(Exponentials);
HWY_EXPORT(ScaleColumns);

void SumExponentials(ConstTile logits, SoftmaxPart& part) { HWY_DYNAMIC_DISPATCH(Loss)(logits, part); }

void SumExponentialsInPlace(Tile logits, SoftmaxPart& part) { HWY_DYNAMIC_DISPATCH(Exponentials)(logits, part); }

void ScaleTokens(const float* factor, Tile x) { HWY_DYNAMIC_DISPATCH(ScaleColumns)(factor, x); }

}  // namespace filigree::kernels
#endif  // HWY_ONCE
