#include <algorithm>
#include <cmath>

#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"

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

// Per token: the largest logit and the sum of exp(logit - max).
struct ColumnSums {
  alignas(64) float max[kTileTokens];
  alignas(64) double sum[kTileTokens] = {};
};

void FindMaxima(ConstTile logits, ColumnSums& columns) {
  const D d;
  V max[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) max[j] = hn::Load(d, logits.row(0) + j * kLanes);
  for (int c = 1; c < logits.channels; ++c) {
    for (int j = 0; j < kRowVectors; ++j) max[j] = hn::Max(max[j], hn::Load(d, logits.row(c) + j * kLanes));
  }
  for (int j = 0; j < kRowVectors; ++j) hn::Store(max[j], d, columns.max + j * kLanes);
}

HWY_INLINE void AddToDouble(V v, double* sum) {
  const hn::Repartition<double, D> dd;
  const hn::Half<D> dh;
  constexpr size_t kHalf = hn::MaxLanes(dd);
  const auto low = hn::PromoteTo(dd, hn::LowerHalf(dh, v)), high = hn::PromoteTo(dd, hn::UpperHalf(dh, v));
  hn::Store(hn::Add(hn::Load(dd, sum), low), dd, sum);
  hn::Store(hn::Add(hn::Load(dd, sum + kHalf), high), dd, sum + kHalf);
}

// Sums e = exp(logit - max) into columns.sum, a block of channels at a time while it is in L1; emit(e, i) gets every e
// and its place in the tile.
template <class Emit>
HWY_INLINE void SumExponentials(ConstTile logits, ColumnSums& columns, Emit emit) {
  const D d;
  FindMaxima(logits, columns);
  for (int c0 = 0; c0 < logits.channels; c0 += kSumBlock) {
    const int c1 = std::min(c0 + kSumBlock, logits.channels);
    for (int t = 0; t < kTileTokens; t += kLanes) {
      const V max = hn::Load(d, columns.max + t);
      V sum = hn::Zero(d);
      for (int c = c0; c < c1; ++c) {
        const size_t i = static_cast<size_t>(c) * kTileTokens + t;
        const V e = Exp(d, hn::Sub(hn::Load(d, logits.data + i), max));
        sum = hn::Add(sum, e);
        emit(e, i);
      }
      AddToDouble(sum, columns.sum + t);
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

// The logits of the targets become the losses.
void FinishLoss(const ColumnSums& columns, const float* target_logit, const int32_t* target, float* loss) {
  for (int t = 0; t < kTileTokens; ++t) {
    const double log_sum = std::log(columns.sum[t]);
    loss[t] = target[t] < 0 ? 0.0f : static_cast<float>(log_sum + (double{columns.max[t]} - target_logit[t]));
  }
}

void ReadTargets(ConstTile x, const int32_t* target, float* out) {
  for (int t = 0; t < kTileTokens; ++t) out[t] = target[t] < 0 ? 0.0f : x.at(target[t], t);
}

void Loss(ConstTile logits, const int32_t* target, float* loss) {
  ColumnSums columns;
  float target_logit[kTileTokens];
  ReadTargets(logits, target, target_logit);
  SumExponentials(logits, columns, [](V, size_t) {});
  FinishLoss(columns, target_logit, target, loss);
}

void Gradient(Tile logits, const int32_t* target, float scale, float* loss) {
  ColumnSums columns;
  float target_logit[kTileTokens], target_exp[kTileTokens];
  alignas(64) float factor[kTileTokens];
  ReadTargets(logits, target, target_logit);
  SumExponentials(logits, columns, [&](V e, size_t i) HWY_ATTR { hn::Store(e, D(), logits.data + i); });
  FinishLoss(columns, target_logit, target, loss);

  ReadTargets(logits, target, target_exp);
  for (int t = 0; t < kTileTokens; ++t) factor[t] = target[t] < 0 ? 0.0f : static_cast<float>(scale / columns.sum[t]);
  ScaleColumns(factor, logits);
  // softmax - 1 in double: near 1 the difference would lose its digits.
  for (int t = 0; t < kTileTokens; ++t) {
    if (target[t] < 0) continue;
    logits.at(target[t], t) = static_cast<float>(scale * (target_exp[t] / columns.sum[t] - 1.0));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Loss);
HWY_EXPORT(Gradient);

void CrossEntropyLoss(ConstTile logits, const int32_t* target, float* loss) {
  ref::CheckTargets(target, logits.channels);
  const TraceSpan span("cross_entropy", [&] { return TraceWork{.bytes = 4.0 * static_cast<double>(logits.size())}; });
  HWY_DYNAMIC_DISPATCH(Loss)(logits, target, loss);
}

void CrossEntropyGradient(Tile logits, const int32_t* target, float scale, float* loss) {
  ref::CheckTargets(target, logits.channels);
  const TraceSpan span("cross_entropy.backward",
                       [&] { return TraceWork{.bytes = 8.0 * static_cast<double>(logits.size())}; });
  HWY_DYNAMIC_DISPATCH(Gradient)(logits, target, scale, loss);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
