#include <algorithm>
#include <cstdint>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/candidates/fused.h"
#include "kernels/spmm/spmm.h"

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

// The 16 logical lanes of entries that still wait to be added up, in the order of `partial`. Nothing waits for its turn
// in the innermost loop: room for a block of entries is made before it.
class WaitingSums {
 public:
  explicit WaitingSums(float* partial) : to_(partial) {}

  HWY_INLINE void MakeRoom() {
    if (end_ > lanes_ + (kCapacity - kSpmmBlock) * 16) Flush();
  }
  HWY_INLINE void Push(const V* sums) {
    const D d;
    for (int g = 0; g < kGroups; ++g) hn::Store(sums[g], d, end_ + g * kLanes);
    end_ += 16;
  }
  void Finish() {
    const D d;
    alignas(64) float last[kLanes];
    Flush();
    const auto waiting = (end_ - lanes_) / 16;
    if (waiting == 0) return;
    hn::Store(Sums(lanes_), d, last);
    for (int i = 0; i < waiting; ++i) to_[i] += last[i];
  }

 private:
  static constexpr uint32_t kCapacity = 128;

  static HWY_INLINE V Sums(const float* lanes) {
    if constexpr (kGroups == 1) {
      return SumOfEach<1>(lanes);
    } else {
      return hn::Add(SumOfEach<2>(lanes), SumOfEach<2>(lanes + kLanes));
    }
  }
  // All but the last few, which move to the front.
  HWY_NOINLINE void Flush() {
    const D d;
    const float* from = lanes_;
    for (; from + kLanes * 16 <= end_; from += kLanes * 16, to_ += kLanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, to_), Sums(from)), d, to_);
    }
    float* front = lanes_;
    for (; from < end_; from += kLanes, front += kLanes) hn::Store(hn::Load(d, from), d, front);
    end_ = front;
  }

  float* to_;
  alignas(64) float lanes_[kCapacity * 16] = {};
  float* end_ = lanes_;
};

// Entries [e, end) of a run whose row of x is `x`: their share of dx, which is added to `dx`, and their dw.
template <bool kDx, bool kDw>
HWY_INLINE void Entries(const CandidateRuns& runs, uint32_t e, uint32_t end, ConstTile dy, const V* x, V* dx,
                        WaitingSums& sums) {
  const D d;
  if (kDw) sums.MakeRoom();
  for (; e < end; ++e) {
    const float* row = dy.row(runs.indices[e]);
    const V value = hn::Set(d, kDx ? runs.values[e] : 0.0f);
    V products[kGroups];
    for (int j = 0; j < kRowVectors; ++j) {
      const V a = hn::Load(d, row + j * kLanes);
      if (kDx) dx[j] = hn::MulAdd(value, a, dx[j]);
      if (!kDw) continue;
      V& product = products[j % kGroups];
      product = j < kGroups ? hn::Mul(a, x[j]) : hn::MulAdd(a, x[j], product);
    }
    if (kDw) sums.Push(products);
  }
}

// dx of run i, and dw of its kept entries.
template <bool kDw>
HWY_INLINE void Kept(const CandidateRuns& runs, int i, ConstTile dy, const V* x, float* dx, WaitingSums& sums) {
  const D d;
  const uint32_t kept_end = runs.kept_ends[i];
  uint32_t e = runs.begins[i];
  for (bool first = true; first || e < kept_end; first = false) {
    V sum[kRowVectors];
    for (V& s : sum) s = hn::Zero(d);
    const uint32_t end = std::min(e + kSpmmBlock, kept_end);
    Entries<true, kDw>(runs, e, end, dy, x, sum, sums);
    e = end;
    for (int j = 0; j < kRowVectors; ++j) {
      float* out = dx + j * kLanes;
      hn::Store(first ? sum[j] : hn::Add(hn::Load(d, out), sum[j]), d, out);
    }
  }
}

template <bool kDx, bool kDw>
void Runs(const CandidateRuns& runs, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  const D d;
  WaitingSums sums(partial);
  V x_row[kRowVectors];
  for (int i = 0; i < runs.runs; ++i) {
    for (int j = 0; kDw && j < kRowVectors; ++j) x_row[j] = hn::Load(d, x.row(i) + j * kLanes);
    if (kDx) Kept<kDw>(runs, i, dy, x_row, dx.row(i), sums);
    if (!kDw) continue;
    const uint32_t run_end = runs.begins[i + 1];
    for (uint32_t e = kDx ? runs.kept_ends[i] : runs.begins[i]; e < run_end;) {
      const uint32_t end = std::min(e + kSpmmBlock, run_end);
      Entries<false, true>(runs, e, end, dy, x_row, nullptr, sums);
      e = end;
    }
  }
  if (kDw) sums.Finish();
}

void FusedTile(const CandidateRuns& runs, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  if (partial == nullptr) {
    Runs<true, false>(runs, dy, x, dx, partial);
  } else if (dx.data == nullptr) {
    Runs<false, true>(runs, dy, x, dx, partial);
  } else {
    Runs<true, true>(runs, dy, x, dx, partial);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(FusedTile);

void FusedBackward(const CandidateRuns& runs, ConstTile dy, ConstTile x, Tile dx, float* partial) {
  CHECK(dy.channels == runs.others, "dy has {} channels of {}", dy.channels, runs.others);
  CHECK(partial == nullptr || x.channels == runs.runs, "x has {} channels of {}", x.channels, runs.runs);
  CHECK(dx.data == nullptr || dx.channels == runs.runs, "dx has {} channels of {}", dx.channels, runs.runs);
  HWY_DYNAMIC_DISPATCH(FusedTile)(runs, dy, x, dx, partial);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
