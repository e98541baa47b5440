#include <cfloat>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/rms_norm/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm/rms_norm_simd.cc"
#include "hwy/foreach_target.h"

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
constexpr int kLaneVectors = 16 / kLanes;  // vectors that hold the 16 logical lanes

// Sums over channels of all 64 tokens: channel c goes to part c % 4. In registers with AVX-512, in L1 with AVX2.
struct ChannelSums {
  V part[4][kRowVectors];

  HWY_INLINE void Clear() {
    for (auto& row : part) {
      for (V& v : row) v = hn::Zero(D());
    }
  }
  HWY_INLINE V Mean(int vector, int channels) const {
    const V sum = hn::Add(hn::Add(part[0][vector], part[1][vector]), hn::Add(part[2][vector], part[3][vector]));
    return hn::Div(sum, hn::Set(D(), static_cast<float>(channels)));
  }
};

// Calls add(c, part) for all channels; the parts are constants once unrolled, so that they can be registers.
template <class F>
HWY_INLINE void ForEachChannel(int channels, F add) {
  int c = 0;
  for (; c + 4 <= channels; c += 4) {
    add(c, 0);
    add(c + 1, 1);
    add(c + 2, 2);
    add(c + 3, 3);
  }
  if (c < channels) add(c, 0);
  if (c + 1 < channels) add(c + 1, 1);
  if (c + 2 < channels) add(c + 2, 2);
}

// The tree over the 16 logical lanes, distance 8, 4, 2, 1.
HWY_INLINE float AddLanes(const V* lanes) {
  const hn::Half<D> dh;
#if HWY_TARGET == HWY_AVX2
  const auto eight = hn::Add(lanes[0], lanes[1]);
  const auto four = hn::Add(hn::LowerHalf(dh, eight), hn::UpperHalf(dh, eight));
#else
  const hn::Half<decltype(dh)> dq;
  const auto eight = hn::Add(hn::LowerHalf(dh, lanes[0]), hn::UpperHalf(dh, lanes[0]));
  const auto four = hn::Add(hn::LowerHalf(dq, eight), hn::UpperHalf(dq, eight));
#endif
  const auto two = hn::Add(four, hn::Shuffle1032(four));
  return hn::GetLane(hn::Add(two, hn::Shuffle2301(two)));
}

using DD = hn::Repartition<double, D>;
using VD = hn::Vec<DD>;
constexpr int kHalfLanes = hn::MaxLanes(DD());

// Sums of squares of 16 tokens in double, as ChannelSums.
struct DoubleSums {
  static constexpr int kVectors = 16 / kHalfLanes;
  VD part[4][kVectors];

  HWY_INLINE void Clear() {
    for (auto& row : part) {
      for (VD& v : row) v = hn::Zero(DD());
    }
  }
  // r = 1 / sqrt(mean + eps), rounded once.
  HWY_INLINE void Finish(int channels, float* r) const {
    const DD dd;
    const hn::Rebind<float, DD> df;
    for (int j = 0; j < kVectors; ++j) {
      const VD sum = hn::Add(hn::Add(part[0][j], part[1][j]), hn::Add(part[2][j], part[3][j]));
      const VD mean = hn::Div(sum, hn::Set(dd, static_cast<double>(channels)));
      const VD root = hn::Sqrt(hn::Add(mean, hn::Set(dd, double{FLT_EPSILON})));
      hn::StoreU(hn::DemoteTo(df, hn::Div(hn::Set(dd, 1.0), root)), df, r + j * kHalfLanes);
    }
  }
};

void Forward(ConstTile x, const float* gain, Tile y, float* r) {
  const D d;
  const hn::Rebind<float, DD> df;
  for (int t = 0; t < kTileTokens; t += 16) {  // 16 tokens at a time: their sums stay in registers
    DoubleSums squares;
    squares.Clear();
    ForEachChannel(x.channels, [&](int c, int part) HWY_ATTR {
      for (int j = 0; j < DoubleSums::kVectors; ++j) {
        const VD v = hn::PromoteTo(DD(), hn::Load(df, x.row(c) + t + j * kHalfLanes));
        squares.part[part][j] = hn::MulAdd(v, v, squares.part[part][j]);
      }
    });
    squares.Finish(x.channels, r + t);
  }
  V scale[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) scale[j] = hn::LoadU(d, r + j * kLanes);
  for (int c = 0; c < x.channels; ++c) {
    const V g = hn::Set(d, gain[c]);
    for (int j = 0; j < kRowVectors; ++j) {
      const V v = hn::Load(d, x.row(c) + j * kLanes);
      hn::Store(hn::Mul(hn::Mul(v, scale[j]), g), d, y.row(c) + j * kLanes);
    }
  }
}

void Backward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain) {
  const D d;
  V scale[kRowVectors], shared[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) scale[j] = hn::LoadU(d, r + j * kLanes);

  ChannelSums sums;  // of dy gain x
  sums.Clear();
  ForEachChannel(x.channels, [&](int c, int part) HWY_ATTR {
    const V g = hn::Set(d, gain[c]);
    V lanes[kLaneVectors];
    for (V& v : lanes) v = hn::Zero(d);
    for (int j = 0; j < kRowVectors; ++j) {
      const V product = hn::Mul(hn::Load(d, dy.row(c) + j * kLanes), hn::Load(d, x.row(c) + j * kLanes));
      sums.part[part][j] = hn::MulAdd(product, g, sums.part[part][j]);
      lanes[j % kLaneVectors] = hn::MulAdd(product, scale[j], lanes[j % kLaneVectors]);
    }
    dgain[c] += AddLanes(lanes);
  });
  for (int j = 0; j < kRowVectors; ++j) {
    shared[j] = hn::Mul(sums.Mean(j, x.channels), hn::Mul(hn::Mul(scale[j], scale[j]), scale[j]));
  }
  for (int c = 0; c < x.channels; ++c) {
    const V g = hn::Set(d, gain[c]);
    for (int j = 0; j < kRowVectors; ++j) {
      const V through = hn::Mul(hn::Mul(scale[j], g), hn::Load(d, dy.row(c) + j * kLanes));
      const V v = hn::NegMulAdd(hn::Load(d, x.row(c) + j * kLanes), shared[j], through);
      float* out = dx.row(c) + j * kLanes;
      hn::Store(hn::Add(hn::Load(d, out), v), d, out);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

void RmsNormForward(ConstTile x, const float* gain, Tile y, float* r) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  const TraceSpan span("rms_norm", [&] {
    const auto entries = static_cast<double>(x.size());
    return TraceWork{.flops = 4 * entries, .bytes = 8 * entries};
  });
  HWY_DYNAMIC_DISPATCH(Forward)(x, gain, y, r);
}

void RmsNormBackward(ConstTile dy, ConstTile x, const float* gain, const float* r, Tile dx, float* dgain) {
  CHECK(dy.channels == x.channels && dx.channels == x.channels, "dy has {} channels, x {}, dx {}", dy.channels,
        x.channels, dx.channels);
  const TraceSpan span("rms_norm.backward", [&] {
    const auto entries = static_cast<double>(x.size());
    return TraceWork{.flops = 10 * entries, .bytes = 16 * entries};
  });
  HWY_DYNAMIC_DISPATCH(Backward)(dy, x, gain, r, dx, dgain);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
