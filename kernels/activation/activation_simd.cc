#include "kernels/activation/activation.h"
#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/activation/gelu-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr size_t kLanes = hn::MaxLanes(D());

// Zero where x <= 0, not where x is NaN.
HWY_INLINE V Relu(V x) { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(D())), x); }

void GeluForward(ConstTile x, Tile y) {
  for (size_t i = 0; i < x.size(); i += kLanes) hn::Store(Gelu(D(), hn::Load(D(), x.data + i)), D(), y.data + i);
}

void ReluForward(ConstTile x, Tile y) {
  for (size_t i = 0; i < x.size(); i += kLanes) hn::Store(Relu(hn::Load(D(), x.data + i)), D(), y.data + i);
}

// dy times the derivative at x. Classes and no lambdas, which GCC calls for every vector.
struct GeluSlope {
  HWY_INLINE V operator()(V x, V dy) const { return hn::Mul(dy, GeluDerivative(D(), x)); }
};
struct ReluSlope {
  HWY_INLINE V operator()(V x, V dy) const { return hn::IfThenElseZero(hn::Gt(x, hn::Zero(D())), dy); }
};

template <class F>
HWY_INLINE void BackwardWith(F slope, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx) {
  const D d;
  for (int c = 0; c < x.channels; ++c) {
    const float *xr = x.row(c), *dyr = dy.row(c);
    float* dxr = dx.row(c);
    if (kept == nullptr) {
      for (size_t t = 0; t < kTileTokens; t += kLanes) {
        hn::Store(slope(hn::Load(d, xr + t), hn::Load(d, dyr + t)), d, dxr + t);
      }
      continue;
    }
    if (kept[c] == 0) {  // a dead neuron costs only its zeros: by memset, of so few bytes, a third of the whole pass
      for (size_t t = 0; t < kTileTokens; t += kLanes) hn::Store(hn::Zero(d), d, dxr + t);
      continue;
    }
    const uint8_t* bits = reinterpret_cast<const uint8_t*>(kept + c);
    for (size_t t = 0; t < kTileTokens; t += kLanes) {
      // An And of bits, since IfThenElseZero becomes a masked load of dy, which no hardware prefetcher follows.
      const V keep = hn::VecFromMask(d, hn::LoadMaskBits(d, bits + t / 8));
      hn::Store(hn::And(keep, slope(hn::Load(d, xr + t), hn::Load(d, dyr + t))), d, dxr + t);
    }
  }
}

void Forward(Activation kind, ConstTile x, Tile y) {
  if (kind == Activation::kGelu) {
    GeluForward(x, y);
  } else {
    ReluForward(x, y);
  }
}

void Backward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx) {
  if (kind == Activation::kGelu) {
    BackwardWith(GeluSlope(), dy, kept, x, dx);
  } else {
    BackwardWith(ReluSlope(), dy, kept, x, dx);
  }
}

void Add(ConstTile x, Tile y) {
  const D d;
  for (size_t i = 0; i < x.size(); i += kLanes) {
    hn::Store(hn::Add(hn::Load(d, y.data + i), hn::Load(d, x.data + i)), d, y.data + i);
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
HWY_EXPORT(Add);

void ActivationForward(Activation kind, ConstTile x, Tile y) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  const TraceSpan span("activation", [&] { return TraceWork{.bytes = 8.0 * static_cast<double>(x.size())}; });
  HWY_DYNAMIC_DISPATCH(Forward)(kind, x, y);
}

void ActivationBackward(Activation kind, ConstTile dy, const uint64_t* kept, ConstTile x, Tile dx) {
  CHECK(dy.channels == x.channels && dx.channels == x.channels, "dy has {} channels, x {}, dx {}", dy.channels,
        x.channels, dx.channels);
  const TraceSpan span("activation.backward", [&] { return TraceWork{.bytes = 12.0 * static_cast<double>(x.size())}; });
  HWY_DYNAMIC_DISPATCH(Backward)(kind, dy, kept, x, dx);
}

void Accumulate(ConstTile x, Tile y) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  const TraceSpan span("accumulate", [&] {
    const auto entries = static_cast<double>(x.size());
    return TraceWork{.flops = entries, .bytes = 12 * entries};
  });
  HWY_DYNAMIC_DISPATCH(Add)(x, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
