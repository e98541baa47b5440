#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/bf16_tile/bf16_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bf16_tile/bf16_tile_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/bf16_row-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using DF = Bf16Floats;
using DU = Bf16Words;
using VU = hn::Vec<DU>;

// Half a step is added, less one where the upper half is even: so a tie goes to the even one. A NaN could be carried
// into infinity, hence the choice. The hardware's own conversion takes subnormals for zero.
HWY_INLINE VU Rounded(VU bits) {
  const DU du;
  const VU odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const VU upper = hn::AndNot(hn::Set(du, 0xffff), hn::Add(hn::Add(bits, hn::Set(du, 0x7fff)), odd));
  const VU nan = hn::Or(hn::And(bits, hn::Set(du, 0x80000000u)), hn::Set(du, 0x7fc00000u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(hn::BitCast(DF(), bits))), nan, upper);
}

void RoundTile(Tile x, Bf16Tile kept) {
  const DF df;
  const DU du;
  for (int c = 0; c < x.channels; ++c) {
    float* row = x.row(c);
    for (int i = 0; i < kBf16RowWords; i += kBf16Lanes) {
      float *low_at = row + i / 16 * 32 + i % 16, *high_at = low_at + 16;
      const VU low = Rounded(hn::BitCast(du, hn::Load(df, low_at)));
      const VU high = Rounded(hn::BitCast(du, hn::Load(df, high_at)));
      hn::Store(hn::BitCast(df, low), df, low_at);
      hn::Store(hn::BitCast(df, high), df, high_at);
      if (kept.data != nullptr) hn::Store(hn::Or(hn::ShiftRight<16>(low), high), du, kept.row(c) + i);
    }
  }
}

void WidenTile(ConstBf16Tile kept, Tile y) {
  for (int c = 0; c < y.channels; ++c) WidenRow(kept.row(c), y.row(c));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(RoundTile);
HWY_EXPORT(WidenTile);

void RoundToBf16(Tile x, Bf16Tile kept) {
  CHECK(kept.data == nullptr || kept.channels == x.channels, "{} channels rounded into {}", x.channels, kept.channels);
  const TraceSpan span("bf16.round", [&] { return TraceWork{.bytes = 10.0 * x.channels * kTileTokens}; });
  HWY_DYNAMIC_DISPATCH(RoundTile)(x, kept);
}

void WidenBf16(ConstBf16Tile kept, Tile y) {
  CHECK(kept.channels == y.channels, "{} channels widened into {}", kept.channels, y.channels);
  const TraceSpan span("bf16.widen", [&] { return TraceWork{.bytes = 6.0 * y.channels * kTileTokens}; });
  HWY_DYNAMIC_DISPATCH(WidenTile)(kept, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
