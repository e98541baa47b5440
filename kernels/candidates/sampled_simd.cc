#include <algorithm>

#include "kernels/base/simd_targets.h"
#include "kernels/candidates/sampled.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/candidates/sampled_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/base/bf16_row-inl.h"
#include "kernels/base/lane_tree-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using lane_tree::D;
using lane_tree::kHalves;
using lane_tree::kLanes;
using lane_tree::Lanes;
using lane_tree::V;

// The products of four candidates, whose rows of the one tile are others[0..3]; kGroup of them share a row of the other
// one. The first two levels of the sums are done: of every four lanes, lane i belongs to candidate i.
template <int kGroup, typename Shared, typename Other>
HWY_INLINE Lanes Four(const uint16_t* shared, const uint16_t* others, Shared shared_tile, Other other_tile) {
  const D d;
  Lanes products[4];
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < kBf16Pairs; ++j) {  // both vectors of a pair have the same logical lanes
      Bf16Pair a{hn::Zero(d), hn::Zero(d)};
      for (int i = 0; i < 4; ++i) {
        if (i % kGroup == 0) a = LoadPair(shared_tile.row(shared[i / kGroup]), half, j);
        const Bf16Pair b = LoadPair(other_tile.row(others[i]), half, j);
        V& product = products[i].half[j];
        product = half == 0 ? hn::Mul(a.low, b.low) : hn::MulAdd(a.low, b.low, product);
        product = hn::MulAdd(a.high, b.high, product);
      }
    }
  }
  return lane_tree::AddFours(products);
}

// The shares of kLanes candidates.
template <int kGroup, typename Shared, typename Other>
HWY_INLINE V Shares(const uint16_t* shared, const uint16_t* others, Shared shared_tile, Other other_tile) {
  const auto four = [&](int i) HWY_ATTR {
    return Four<kGroup>(shared + i * (4 / kGroup), others + i * 4, shared_tile, other_tile);
  };
  return lane_tree::AddAll(four);
}

// `count` candidates in groups of kGroup. Rows are read past them: of other groups, or the padding.
template <int kGroup, typename Shared, typename Other>
HWY_NOINLINE void Stretch(const uint16_t* shared, const uint16_t* others, uint32_t count, Shared shared_tile,
                          Other other_tile, float* partial) {
  const D d;
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const V shares = Shares<kGroup>(shared + i / kGroup, others + i, shared_tile, other_tile);
    hn::StoreU(hn::Add(hn::LoadU(d, partial + i), shares), d, partial + i);
  }
  if (i == count) return;
  alignas(64) float last[kLanes];
  hn::Store(Shares<kGroup>(shared + i / kGroup, others + i, shared_tile, other_tile), d, last);
  for (int lane = 0; i < count; ++i, ++lane) partial[i] += last[lane];
}

// Rows of a tile are asked for in ascending order, well before they are needed.
template <typename Input>
class Ahead {
 public:
  explicit Ahead(Input tile) : tile_(tile) {}
  void FetchUpTo(int row) {
    constexpr int kLine = 64 / sizeof(float);  // floats, or words of a bf16 row
    for (; row_ < std::min(row, tile_.channels); ++row_) {
      const auto *at = tile_.row(row_), *end = tile_.row(row_ + 1);
      for (; at < end; at += kLine) __builtin_prefetch(at, 0, 2);
    }
  }

 private:
  Input tile_;
  int row_ = 0;
};

// The groups of four. Where the other tile is x, it has been away since the forward pass: it is fetched on the way,
// unless so few candidates use a row that fetching costs more than it saves.
template <typename Shared, typename Other>
void Fours(const SampledOrder& order, Shared shared_tile, Other other_tile, float* partial) {
  constexpr uint32_t kChunk = 256, kWorthwhile = 2;
  const uint32_t fours = order.ends()[0], channels = other_tile.channels;
  Ahead<Other> ahead(order.shares_rows() && fours / kWorthwhile >= channels ? other_tile : Other{});
  for (uint32_t begin = 0; begin < fours; begin += kChunk) {
    const uint32_t count = std::min(kChunk, fours - begin);
    ahead.FetchUpTo(static_cast<int>(uint64_t{begin + count} * channels / fours) + 4 * SampledOrder::kWindow);
    Stretch<4>(order.shared() + begin / 4, order.others() + begin, count, shared_tile, other_tile, partial + begin);
  }
}

template <typename Shared, typename Other>
void SampledOf(const SampledOrder& order, Shared shared_tile, Other other_tile, float* partial) {
  const uint32_t *ends = order.ends(), twos = ends[1] - ends[0], ones = ends[2] - ends[1];
  const uint16_t *shared = order.shared() + ends[0] / 4, *others = order.others();
  Fours(order, shared_tile, other_tile, partial);
  Stretch<2>(shared, others + ends[0], twos, shared_tile, other_tile, partial + ends[0]);
  Stretch<1>(shared + twos / 2, others + ends[1], ones, shared_tile, other_tile, partial + ends[1]);
}

template <typename Input>
void SampledOfInput(const SampledOrder& order, ConstTile dy, Input x, float* partial) {
  if (order.shares_rows()) {
    SampledOf(order, dy, x, partial);
  } else {
    SampledOf(order, x, dy, partial);
  }
}

void SampledTile(const SampledOrder& order, ConstTile dy, ConstTile x, float* partial) {
  SampledOfInput(order, dy, x, partial);
}
void SampledBf16Tile(const SampledOrder& order, ConstTile dy, ConstBf16Tile x, float* partial) {
  SampledOfInput(order, dy, x, partial);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(SampledTile);
HWY_EXPORT(SampledBf16Tile);

void SampledGradient(const SampledOrder& order, ConstTile dy, ConstTile x, float* partial) {
  HWY_DYNAMIC_DISPATCH(SampledTile)(order, dy, x, partial);
}

void SampledGradient(const SampledOrder& order, ConstTile dy, ConstBf16Tile x, float* partial) {
  HWY_DYNAMIC_DISPATCH(SampledBf16Tile)(order, dy, x, partial);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
