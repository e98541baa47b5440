#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/spmm/spmm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/spmm_simd.cc"
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
constexpr int kRowVectors = kTileTokens / kLanes;

// One output row lives in registers while its nonzeros stream in, one row of x each: at the speed of L2 where x fits
// it. Measured and no faster: prefetching ahead, blocks of columns that stay in L1 or L2, half of the tokens at a time.
void SpmmTile(const CsrView& w, ConstTile x, const float* bias, Tile y) {
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
        const float* row = x.row(w.col_indices[e]);
        const V value = hn::Set(d, w.values[e]);
        for (int j = 0; j < kRowVectors; ++j) sum[j] = hn::MulAdd(value, hn::Load(d, row + j * kLanes), sum[j]);
      }
      for (int j = 0; j < kRowVectors; ++j) {
        hn::Store(first ? sum[j] : hn::Add(hn::Load(d, out + j * kLanes), sum[j]), d, out + j * kLanes);
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(SpmmTile);

void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y) {
  CHECK(x.channels == w.cols && y.channels == w.rows, "w is {} x {}, x has {} channels, y {}", w.rows, w.cols,
        x.channels, y.channels);
  const TraceSpan span("spmm", [&] {
    const auto nnz = static_cast<double>(w.nnz());
    return TraceWork{.flops = 2 * nnz * kTileTokens, .bytes = 4 * (nnz + w.rows) * kTileTokens};
  });
  HWY_DYNAMIC_DISPATCH(SpmmTile)(w, x, bias, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
