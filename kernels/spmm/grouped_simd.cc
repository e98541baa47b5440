#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/spmm/grouped.h"
#include "kernels/spmm/spmm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spmm/grouped_simd.cc"
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
constexpr int kMostNodes = 32;

struct Row {
  V v[kRowVectors];
};

HWY_INLINE Row Filled(float value) {
  const D d;
  Row row;
  for (V& v : row.v) v = hn::Set(d, value);
  return row;
}

HWY_INLINE Row Loaded(const float* from) {
  const D d;
  Row row;
  for (int j = 0; j < kRowVectors; ++j) row.v[j] = hn::Load(d, from + j * kLanes);
  return row;
}

HWY_INLINE void Stored(const Row& row, float* to) {
  const D d;
  for (int j = 0; j < kRowVectors; ++j) hn::Store(row.v[j], d, to + j * kLanes);
}

HWY_INLINE Row Sum(const Row& a, const Row& b) {
  Row sum;
  for (int j = 0; j < kRowVectors; ++j) sum.v[j] = hn::Add(a.v[j], b.v[j]);
  return sum;
}

// start + the entries [e, end) of a block.
HWY_INLINE Row Block(const CsrView& w, ConstTile x, uint32_t e, uint32_t end, float start) {
  const D d;
  Row sum = Filled(start);
  for (; e < end; ++e) {
    const float* row = x.row(w.col_indices[e]);
    const V value = hn::Set(d, w.values[e]);
    for (int j = 0; j < kRowVectors; ++j) sum.v[j] = hn::MulAdd(value, hn::Load(d, row + j * kLanes), sum.v[j]);
  }
  return sum;
}

// One group's sum of a row whose offsets are given.
HWY_INLINE Row GroupSum(const GroupedCsr& w, const uint32_t* offsets, int group, ConstTile x, float start) {
  Row total = Filled(start);
  bool first = true;
  for (int s = 0; s < w.stripes; ++s) {
    const uint32_t* offset = offsets + s * w.groups + group;
    for (uint32_t e = offset[0]; e < offset[1]; e += kSpmmBlock) {
      const Row sum = Block(w.w, x, e, std::min(e + kSpmmBlock, offset[1]), first ? start : 0.0f);
      total = first ? sum : Sum(total, sum);
      first = false;
    }
  }
  return total;
}

// The tree of a row is walked in registers and a few rows in L1: after the n-th group as many nodes are merged as n has
// zeros at its end.
void SpmmGroupsTile(const GroupedCsr& w, int first, int count, ConstTile x, const float* bias, Tile y) {
  alignas(64) float nodes[kMostNodes][kTileTokens];
  const size_t runs = size_t{1} * w.stripes * w.groups;
  for (int r = 0; r < w.w.rows; ++r) {
    const uint32_t* offsets = w.offsets + r * runs;
    int depth = 0;
    for (int g = 0; g < count; ++g) {
      Row sum = GroupSum(w, offsets, first + g, x, g == 0 && bias != nullptr ? bias[r] : 0.0f);
      for (int n = g + 1; n % 2 == 0; n /= 2) sum = Sum(Loaded(nodes[--depth]), sum);
      Stored(sum, nodes[depth++]);
    }
    Row sum = Loaded(nodes[--depth]);
    while (depth > 0) sum = Sum(Loaded(nodes[--depth]), sum);
    Stored(sum, y.row(r));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(SpmmGroupsTile);

void SpmmGroups(const GroupedCsr& w, int first, int count, ConstTile x, const float* bias, Tile y) {
  CHECK(x.channels == w.w.cols && y.channels == w.w.rows, "w is {} x {}, x has {} channels, y {}", w.w.rows, w.w.cols,
        x.channels, y.channels);
  CHECK(0 <= first && 1 <= count && first + count <= w.groups, "groups [{}, {}) of {}", first, first + count, w.groups);
  const TraceSpan span("spmm.groups", [&] {
    const auto nnz = static_cast<double>(w.w.nnz()) * count / w.groups;
    return TraceWork{.flops = 2 * nnz * kTileTokens, .bytes = 4 * (nnz + w.w.rows) * kTileTokens};
  });
  HWY_DYNAMIC_DISPATCH(SpmmGroupsTile)(w, first, count, x, bias, y);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
