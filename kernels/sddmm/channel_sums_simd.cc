#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/sddmm/channel_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sddmm/channel_sums_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/lane_tree-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using lane_tree::kHalves;
using lane_tree::kLanes;
using lane_tree::Lanes;

// The logical lanes of a channel.
HWY_INLINE Lanes LanesOf(const float* row) {
  const lane_tree::D d;
  Lanes lanes;
  for (int h = 0; h < kHalves; ++h) {
    lanes.half[h] = hn::Load(d, row + h * kLanes);
    for (int t = 16; t < kTileTokens; t += 16) {
      lanes.half[h] = hn::Add(lanes.half[h], hn::Load(d, row + t + h * kLanes));
    }
  }
  return lanes;
}

// Those of kLanes channels from c on; the last one stands in for those that there are not.
HWY_INLINE lane_tree::V SumsFrom(ConstTile dy, int c) {
  return lane_tree::AddAll([&](int four) HWY_ATTR {
    Lanes lanes[4];
    for (int i = 0; i < 4; ++i) lanes[i] = LanesOf(dy.row(HWY_MIN(c + 4 * four + i, dy.channels - 1)));
    return lane_tree::AddFours(lanes);
  });
}

void ChannelSums(ConstTile dy, float* sums) {
  const lane_tree::D d;
  int c = 0;
  for (; c + kLanes <= dy.channels; c += kLanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, sums + c), SumsFrom(dy, c)), d, sums + c);
  }
  if (c == dy.channels) return;
  alignas(64) float last[kLanes];
  hn::Store(SumsFrom(dy, c), d, last);
  for (int i = 0; c < dy.channels; ++c, ++i) sums[c] += last[i];
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(ChannelSums);

void AddChannelSums(ConstTile dy, float* sums) {
  const TraceSpan span("bias_gradient", [&] {
    const auto n = static_cast<double>(dy.size());
    return TraceWork{.flops = n, .bytes = 4 * n};
  });
  CHECK(dy.channels == 0 || sums != nullptr, "{} channels and no place for their sums", dy.channels);
  HWY_DYNAMIC_DISPATCH(ChannelSums)(dy, sums);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
