#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "kernels/attention/ahead.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_check.h"
#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"
#include "kernels/base/simd_targets.h"

#ifndef FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_
#define FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_
namespace filigree::kernels {

// Sums by key in the order of the key's list, four slots at a time; they go to their channels at the end.
struct KeySums {
  Buffer<float> sum;
  size_t stride = 0;

  void Reserve(int channels) {
    stride = (static_cast<size_t>(channels) + 3) / 4 * 4;
    if (sum.size() < stride * kTileTokens) sum = Buffer<float>(stride * kTileTokens);
  }
  float* of(int key) { return sum.data() + key * stride; }
};

// The keys of one tile and their running gradients.
struct Keys {
  uint64_t k_bits[kMaxHeadChannels], v_bits[kMaxHeadChannels];
  KeyLists k_lists, v_lists;
  KeySums dk, dv;
  ConstTile k, v;
};

// What a thread keeps from call to call.
struct BackwardWorkspace {
  Keys keys;
  Buffer<float> delta;  // of all tokens
  Square square;
};

}  // namespace filigree::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_backward_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/attention/kept_lists-inl.h"
#include "kernels/attention/lane_sums-inl.h"
#include "kernels/attention/tile_pair-inl.h"

#include "hwy/highway.h"

// With p = exp(s - max) / sum recomputed and delta[i] = y_i . dy_i:
//
//   dv_j = sum_i p[i, j] dy_i,   ds[i, j] = p[i, j] (dy_i . v_j - delta[i]),   dq_i = sum_j ds[i, j] k_j / sqrt(K),
//   dk_j = sum_i ds[i, j] q_i / sqrt(K),   dsink = -sum_i p[i, sink] delta[i]

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

// One tile of queries; max, inverse and delta have an entry for each.
struct Queries {
  ConstTile q, dy;
  const float *max, *inverse, *delta;
  Tile dq;
};

// Calls body(offsets, group size as a constant, first slot) for a list cut into groups of four and a rest.
template <class Body>
HWY_INLINE void ForGroups(const int32_t* offsets, int count, Body&& body) {
  int i = 0;
  for (; i + 4 <= count; i += 4) body(offsets + i, std::integral_constant<int, 4>(), i);
  switch (count - i) {
    case 1:
      body(offsets + i, std::integral_constant<int, 1>(), i);
      break;
    case 2:
      body(offsets + i, std::integral_constant<int, 2>(), i);
      break;
    case 3:
      body(offsets + i, std::integral_constant<int, 3>(), i);
      break;
    default:
      break;
  }
}

// The diagonal comes first for every key: it overwrites.
template <bool kOverwrite>
HWY_INLINE void AddToSlots(const LaneSum (&sum)[4], float* slots) {
  const D4 d;
  const auto added = AddLanes(sum);
  hn::StoreU(kOverwrite ? added : hn::Add(hn::LoadU(d, slots), added), d, slots);
}

// square = p.
template <class Range>
HWY_INLINE void ProbabilityRows(Range, const KeyLists& lists, const float* k, float scale, const Queries& queries,
                                const Ahead& ahead, Square& square) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  const V factor = hn::Set(d, scale);
  V max[kRowVectors], inverse[kRowVectors];
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
    max[j] = hn::LoadU(d, queries.max + j * kLanes);
    inverse[j] = hn::LoadU(d, queries.inverse + j * kLanes);
  }
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step(i);
    V score[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) score[j] = hn::Zero(d);
    AddListed<Range::kFirst>(lists.offsets(key), lists.count[key], k + key, queries.q.data, score);
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      const V e = Exp2(d, hn::Mul(hn::Sub(score[j], max[j]), factor));
      // Padding has the inverse 0, and whatever e.
      V p = hn::IfThenElseZero(hn::Ne(inverse[j], hn::Zero(d)), hn::Mul(e, inverse[j]));
      if (j < Range::kMaskEnd) p = hn::IfThenElseZero(Visible(key, j), p);
      hn::Store(p, d, square.row(key) + j * kLanes);
    }
  }
}

// square = ds; dv's sums += p dy.
template <class Range>
HWY_INLINE void ValueRows(Range, const KeyLists& lists, const float* v, const Queries& queries, Square& square,
                          KeySums& dv) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    float* row = square.row(key);
    V p[kRowVectors], dp[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      p[j] = hn::Load(d, row + j * kLanes);
      dp[j] = hn::Zero(d);
    }
    float* slots = dv.of(key);
    ForGroups(lists.offsets(key), lists.count[key], [&](const int32_t* offsets, auto size, int slot) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const V value = hn::Set(d, v[key + offsets[m]]);
        const float* dy = queries.dy.data + offsets[m];
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          const V g = hn::Load(d, dy + j * kLanes);
          dp[j] = hn::MulAdd(value, g, dp[j]);
          sum[m].Add(j, p[j], g);
        }
      }
      AddToSlots<Range::kDiagonal>(sum, slots + slot);
    });
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      // dp and delta are the same sum, term by term, where one value is all of y: then ds is exactly 0. Nothing comes
      // from where p is 0: hidden keys and padding, whose dp may overflow.
      const V through = hn::Mul(p[j], hn::Sub(dp[j], hn::LoadU(d, queries.delta + j * kLanes)));
      const V ds = hn::IfThenElseZero(hn::Ne(p[j], hn::Zero(d)), through);
      hn::Store(ds, d, row + j * kLanes);
    }
  }
}

// dk's sums += ds q.
template <class Range>
HWY_INLINE void KeyRows(Range, const KeyLists& lists, const Queries& queries, const Square& square, KeySums& dk) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    V ds[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      ds[j] = hn::Load(d, square.row(key) + j * kLanes);
    }
    float* slots = dk.of(key);
    ForGroups(lists.offsets(key), lists.count[key], [&](const int32_t* offsets, auto size, int slot) HWY_ATTR {
      LaneSum sum[4];
      for (LaneSum& s : sum) s.Clear();
      FILIGREE_UNROLL for (int m = 0; m < size.value; ++m) {
        const float* q = queries.q.data + offsets[m];
        FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
          sum[m].Add(j, ds[j], hn::Load(d, q + j * kLanes));
        }
      }
      AddToSlots<Range::kDiagonal>(sum, slots + slot);
    });
  }
}

void AddPair(Keys& keys, bool first, bool diagonal, int channels, const Queries& queries, const Ahead& ahead,
             Square& square) {
  const D d;
  const float root = 1.0f / std::sqrt(static_cast<float>(channels));
  const float scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(channels)));
  ForRowRanges(diagonal, [&](auto range) HWY_ATTR {
    ProbabilityRows(range, keys.k_lists, keys.k.data, scale, queries, ahead, square);
    ValueRows(range, keys.v_lists, keys.v.data, queries, square, keys.dv);
    KeyRows(range, keys.k_lists, queries, square, keys.dk);
  });
  if (diagonal) ClearBelowDiagonal(square);
  for (int c = 0; c < channels; ++c) {
    V added[kRowVectors];
    SumKeptKeys(keys.k_bits[c], keys.k.row(c), square, added);
    for (int j = 0; j < kRowVectors; ++j) {
      float* dq = queries.dq.row(c) + j * kLanes;
      const V before = first ? hn::Zero(d) : hn::Load(d, dq);
      hn::Store(hn::MulAdd(added[j], hn::Set(d, root), before), d, dq);
    }
  }
}

// Zero where q was not kept.
void MaskQueries(const uint64_t* kept, Tile dq) {
  const D d;
  for (int c = 0; c < dq.channels; ++c) {
    const uint8_t* bits = reinterpret_cast<const uint8_t*>(kept + c);
    for (int t = 0; t < kTileTokens; t += kLanes) {
      const auto keep = hn::LoadMaskBits(d, bits + t / 8);
      hn::Store(hn::IfThenElseZero(keep, hn::Load(d, dq.row(c) + t)), d, dq.row(c) + t);
    }
  }
}

void WriteKeys(const KeyLists& lists, KeySums& sums, float factor, Tile out) {
  std::memset(out.data, 0, out.size() * sizeof(float));
  for (const int key : lists.order) {
    const int32_t* offsets = lists.offsets(key);
    const float* sum = sums.of(key);
    for (int i = 0; i < lists.count[key]; ++i) out.data[offsets[i] + key] = sum[i] * factor;
  }
}

// delta of one tile; sink_sum += p[sink] delta.
void FormDelta(ConstTile y, ConstTile dy, const float* max, const float* inverse, const float* sink_score, float scale,
               float* delta, LaneSum& sink_sum) {
  const D d;
  for (int j = 0; j < kRowVectors; ++j) {
    V sum = hn::Zero(d);
    for (int c = 0; c < y.channels; ++c) {
      sum = hn::MulAdd(hn::Load(d, y.row(c) + j * kLanes), hn::Load(d, dy.row(c) + j * kLanes), sum);
    }
    hn::StoreU(sum, d, delta + j * kLanes);
    if (sink_score == nullptr) continue;
    const V inv = hn::LoadU(d, inverse + j * kLanes);
    const V below = hn::Sub(hn::Set(d, *sink_score), hn::LoadU(d, max + j * kLanes));
    const V p = hn::Mul(Exp2(d, hn::Mul(below, hn::Set(d, scale))), inv);
    const auto is_real = hn::Ne(inv, hn::Zero(d));
    sink_sum.Add(j, hn::IfThenElseZero(is_real, p), hn::IfThenElseZero(is_real, sum));
  }
}

// delta of all tokens, and the sink's gradient.
void FormDeltas(const AttentionBackwardArgs& a, float* delta) {
  const int K = a.q.channels;
  const float scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(K)));
  const float sink_score = a.sink != nullptr ? *a.sink * std::sqrt(static_cast<float>(K)) : 0.0f;
  LaneSum sink_sum[4];
  for (LaneSum& s : sink_sum) s.Clear();
  for (int i = 0; i < TilesOf(a.tokens); ++i) {
    const float* stats = a.stats + size_t{2} * kTileTokens * i;
    FormDelta(a.y.tile(i), a.dy.tile(i), stats, stats + kTileTokens, a.sink != nullptr ? &sink_score : nullptr, scale,
              delta + static_cast<size_t>(i) * kTileTokens, sink_sum[0]);
  }
  if (a.sink != nullptr) *a.dsink -= hn::GetLane(AddLanes(sink_sum));
}

void Backward(const AttentionBackwardArgs& a, BackwardWorkspace& work) {
  Keys& keys = work.keys;
  Buffer<float>& delta = work.delta;
  const int K = a.q.channels, tiles = TilesOf(a.tokens);
  if (delta.size() < static_cast<size_t>(tiles) * kTileTokens)
    delta = Buffer<float>(static_cast<size_t>(tiles) * kTileTokens);
  keys.dk.Reserve(K);
  keys.dv.Reserve(K);
  FormDeltas(a, delta.data());
  const auto kept = [&](const uint64_t* all, int tile) {
    return all == nullptr ? nullptr : all + tile * a.kept_stride;
  };
  const auto queries = [&](int i) -> Queries {
    const float* stats = a.stats + size_t{2} * kTileTokens * i;
    return {a.q.tile(i), a.dy.tile(i), stats, stats + kTileTokens, delta.data() + static_cast<size_t>(i) * kTileTokens,
            a.dq.tile(i)};
  };
  for (int key_tile = 0; key_tile < tiles; ++key_tile) {
    const int real = a.tokens - key_tile * kTileTokens;
    keys.k = a.k.tile(key_tile);
    keys.v = a.v.tile(key_tile);
    ReadKeptBits(keys.k, kept(a.kept_k, key_tile), WithoutBits::kAll, real, keys.k_bits);
    ReadKeptBits(keys.v, kept(a.kept_v, key_tile), WithoutBits::kAll, real, keys.v_bits);
    ListByKey(keys.k_bits, K, keys.k_lists);
    ListByKey(keys.v_bits, K, keys.v_lists);
    for (int i = key_tile; i < tiles; ++i) {
      Ahead ahead(K);
      if (i + 1 < tiles) {
        if (key_tile == 0) {
          ahead.Add(a.q.tile(i + 1));
          ahead.Add(a.dq.tile(i + 1));
        }
      } else {
        ahead.Add(a.dk.tile(key_tile));
        ahead.Add(a.dv.tile(key_tile));
        ahead.AddNextHead(a.y.tile(key_tile));
        ahead.AddNextHead(a.dy.tile(key_tile));
        if (key_tile + 1 < tiles) {
          ahead.Add(a.k.tile(key_tile + 1));
          ahead.Add(a.v.tile(key_tile + 1));
        } else {
          for (const ConstTileSeries& x : {a.q, a.k, a.v, ConstTileSeries(a.dq)}) ahead.AddNextHead(x.tile(0));
        }
      }
      AddPair(keys, key_tile == 0, i == key_tile, K, queries(i), ahead, work.square);
    }
    WriteKeys(keys.k_lists, keys.dk, 1.0f / std::sqrt(static_cast<float>(K)), a.dk.tile(key_tile));
    WriteKeys(keys.v_lists, keys.dv, 1.0f, a.dv.tile(key_tile));
    if (a.kept_q != nullptr) MaskQueries(kept(a.kept_q, key_tile), a.dq.tile(key_tile));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Backward);

void AttentionBackward(const AttentionBackwardArgs& args) {
  CheckArgs(args);
  static thread_local BackwardWorkspace work;
  HWY_DYNAMIC_DISPATCH(Backward)(args, work);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
