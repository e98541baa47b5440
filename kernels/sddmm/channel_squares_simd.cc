#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/sddmm/channel_squares.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sddmm/channel_squares_simd.cc"
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
constexpr int kLanes = hn::MaxLanes(D());
constexpr int kGroups = 16 / kLanes;  // vectors that hold the 16 logical lanes

void Squares(ConstTile x, double* sums) {
  const D d;
  for (int c = 0; c < x.channels; ++c) {
    const float* row = x.row(c);
    V squares[kGroups];
    for (int j = 0; j < kTileTokens / kLanes; ++j) {
      const V v = hn::Load(d, row + j * kLanes);
      squares[j % kGroups] = j < kGroups ? hn::Mul(v, v) : hn::MulAdd(v, v, squares[j % kGroups]);
    }
    alignas(64) float lane[16];
    for (int g = 0; g < kGroups; ++g) hn::Store(squares[g], d, lane + g * kLanes);
    const hn::FixedTag<float, 8> d8;
    const hn::FixedTag<float, 4> d4;
    hn::Store(hn::Add(hn::Load(d8, lane), hn::Load(d8, lane + 8)), d8, lane);
    hn::Store(hn::Add(hn::Load(d4, lane), hn::Load(d4, lane + 4)), d4, lane);
    sums[c] += static_cast<double>((lane[0] + lane[2]) + (lane[1] + lane[3]));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Squares);

void AddChannelSquares(ConstTile x, double* sums) {
  const TraceSpan span("channel_squares", [&] {
    const auto n = static_cast<double>(x.size());
    return TraceWork{.flops = 2 * n, .bytes = 4 * n};
  });
  HWY_DYNAMIC_DISPATCH(Squares)(x, sums);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
