#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/spmm/spmm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/spmm_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/bf16_row-inl.h"

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

// One output row lives in registers while its nonzeros stream in, one row of x each: at the speed of L2 where x fits
// it. Measured and no faster: prefetching ahead, blocks of columns that stay in L1 or L2, half of the tokens at a time.
template <typename Input>
HWY_INLINE void SpmmOf(const CsrView& w, Input x, const float* bias, Tile y) {
  const D d;
  uint32_t e = w.row_offsets[0];
  for (int r = 0; r < w.rows; ++r) {
    const uint32_t row_end = w.row_offsets[r + 1];
    float* out = y.row(r);
    float start = bias == nullptr ? 0.0f : bias[r];
    for (bool first = true; first || e < row_end; first = false, start = 0) {
      V sum[kRowVectors];
      for (V& s : sum) s = hn::Set(d, start);
      for (const uint32_t end = std::min(e + kSpmmBlock, row_end); e < end; ++e) {
        const auto* row = x.row(w.col_indices[e]);
        const V value = hn::Set(d, w.values[e]);
        for (int half = 0; half < 2; ++half) {
          for (int i = 0; i < kBf16Pairs; ++i) {
            const Bf16Pair pair = LoadPair(row, half, i);
            V &low = sum[LowVector(half, i)], &high = sum[HighVector(half, i)];
            low = hn::MulAdd(value, pair.low, low);
            high = hn::MulAdd(value, pair.high, high);
          }
        }
      }
      for (int j = 0; j < kRowVectors; ++j) {
        hn::Store(first ? sum[j] : hn::Add(hn::Load(d, out + j * kLanes), sum[j]), d, out + j * kLanes);
      }
    }
  }
}

void SpmmTile(const CsrView& w, ConstTile x, const float* bias, Tile y) { SpmmOf(w, x, bias, y); }
void SpmmBf16Tile(const CsrView& w, ConstBf16Tile x, const float* bias, Tile y) { SpmmOf(w, x, bias, y); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(SpmmTile);
HWY_EXPORT(SpmmBf16Tile);

namespace {

void CheckShapes(const CsrView& w, int x_channels, int y_channels) {
  CHECK(x_channels == w.cols && y_channels == w.rows, "w is {} x {}, x has {} channels, y {}", w.rows, w.cols,
        x_channels, y_channels);
}

TraceWork WorkOf(const CsrView& w, double bytes_of_x) {
  const auto nnz = static_cast<double>(w.nnz());
  return {.flops = 2 * nnz * kTileTokens, .bytes = (bytes_of_x * nnz + 4.0 * w.rows) * kTileTokens};
}

}  // namespace

void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y) {
  CheckShapes(w, x.channels, y.channels);
  const TraceSpan span("spmm", [&] { return WorkOf(w, 4); });
  HWY_DYNAMIC_DISPATCH(SpmmTile)(w, x, bias, y);
}

void Spmm(const CsrView& w, ConstBf16Tile x, const float* bias, Tile y) {
  CheckShapes(w, x.channels, y.channels);
  const TraceSpan span("spmm", [&] { return WorkOf(w, 2); });
  HWY_DYNAMIC_DISPATCH(SpmmBf16Tile)(w, x, bias, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
