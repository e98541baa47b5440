#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/candidates/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/candidates/fused_simd.cc"
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
constexpr int kGroups = 16 / kLanes;  // vectors that hold the 16 logical lanes

// Sums of lanes without a horizontal addition an entry: kLanes vectors go in, one comes out, whose lane i is the sum of
// the lanes of vector i. At every level two vectors become one; the distances are 1, 2, 4, 8.
HWY_INLINE V AddDistance1(V a, V b) {
  const D d;
  return hn::Add(hn::OddEven(b, a), hn::Reverse2(d, hn::OddEven(a, b)));
}

HWY_INLINE V AddDistance2(V a, V b) {
  const D d;
  const hn::Repartition<double, D> d64;
  const auto a64 = hn::BitCast(d64, a), b64 = hn::BitCast(d64, b);
  return hn::Add(hn::BitCast(d, hn::OddEven(b64, a64)), hn::BitCast(d, hn::Reverse2(d64, hn::OddEven(a64, b64))));
}

HWY_INLINE V AddDistance4(V a, V b) {
  return hn::Add(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
}

HWY_INLINE V AddHalves(V a, V b) {
  const D d;
  return hn::Add(hn::ConcatUpperLower(d, b, a), hn::ConcatLowerUpper(d, b, a));
}

// v[i * kStride] for i < kLanes.
template <int kStride>
HWY_INLINE V SumOfEach(const float* v) {
  const D d;
  const auto at = [&](int i) { return hn::Load(d, v + i * kStride * kLanes); };
  V four[kLanes / 4];
  for (int i = 0; i < kLanes / 4; ++i) {
    four[i] = AddDistance2(AddDistance1(at(4 * i), at(4 * i + 1)), AddDistance1(at(4 * i + 2), at(4 * i + 3)));
  }
  if constexpr (kLanes == 8) {
    return AddHalves(four[0], four[1]);
  } else {
    return AddHalves(AddDistance4(four[0], four[1]), AddDistance4(four[2], four[3]));
  }
}

// The 16 logical lanes of entries that still wait to be added up: a block of kLanes entries at a time.
class WaitingSums {
 public:
  explicit WaitingSums(float* partial) : to_(partial) {}

  HWY_INLINE void Push(const V* sums) {
    const D d;
    for (int g = 0; g < kGroups; ++g) hn::Store(sums[g], d, lanes_ + (waiting_ * kGroups + g) * kLanes);
    if (++waiting_ == kLanes) Flush();
  }
  void Finish() {
    const D d;
    alignas(64) float last[kLanes];
    if (waiting_ == 0) return;
    hn::Store(Sums(), d, last);
    for (int i = 0; i < waiting_; ++i) to_[i] += last[i];
  }

 private:
  HWY_INLINE V Sums() const {
    if constexpr (kGroups == 1) {
      return SumOfEach<1>(lanes_);
    } else {
      return hn::Add(SumOfEach<2>(lanes_), SumOfEach<2>(lanes_ + kLanes));
    }
  }
  HWY_INLINE void Flush() {
    const D d;
    hn::StoreU(hn::Add(hn::LoadU(d, to_), Sums()), d, to_);
    to_ += kLanes;
    waiting_ = 0;
  }

  float* to_;
  int waiting_ = 0;
  alignas(64) float lanes_[kLanes * 16] = {};
};

template <bool kWithDx>
void Columns(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  const D d;
  uint32_t e = columns.row_offsets[0];
  WaitingSums sums(partial + e);
  for (int i = 0; i < columns.rows; ++i) {
    const float* x_row = x.row(i);
    V dx_row[kRowVectors], x_vectors[kRowVectors];
    for (int j = 0; j < kRowVectors; ++j) {
      dx_row[j] = hn::Zero(d);
      x_vectors[j] = hn::Load(d, x_row + j * kLanes);
    }
    for (const uint32_t end = columns.row_offsets[i + 1]; e < end; ++e) {
      const float* dy_row = dy.row(columns.col_indices[e]);
      const V value = hn::Set(d, columns.values[e]);
      V products[kGroups];
      for (int j = 0; j < kRowVectors; ++j) {
        const V a = hn::Load(d, dy_row + j * kLanes);
        if (kWithDx) dx_row[j] = hn::MulAdd(value, a, dx_row[j]);
        V& product = products[j % kGroups];
        product = j < kGroups ? hn::Mul(a, x_vectors[j]) : hn::MulAdd(a, x_vectors[j], product);
      }
      sums.Push(products);
    }
    if (!kWithDx) continue;
    for (int j = 0; j < kRowVectors; ++j) hn::Store(dx_row[j], d, dx.row(i) + j * kLanes);
  }
  sums.Finish();
}

void FusedTile(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  if (dx.data == nullptr) {
    Columns<false>(columns, dy, x, dx, partial);
  } else {
    Columns<true>(columns, dy, x, dx, partial);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(FusedTile);

void FusedBackward(const CsrView& columns, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  CHECK(x.channels == columns.rows && dy.channels == columns.cols, "w is {} x {}, x has {} channels, dy {}",
        columns.cols, columns.rows, x.channels, dy.channels);
  HWY_DYNAMIC_DISPATCH(FusedTile)(columns, dy, x, dx, partial);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
