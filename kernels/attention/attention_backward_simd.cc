#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/attention/ahead.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_check.h"
#include "kernels/attention/backward_workspace.h"
#include "kernels/base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_backward_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/attention/backward_rows-inl.h"
#include "kernels/attention/kept_lists-inl.h"
#include "kernels/attention/lane_sums-inl.h"
#include "kernels/attention/tile_pair-inl.h"
#include "kernels/attention/work.h"

#include "hwy/highway.h"

// With p = exp(s - max) / sum recomputed and delta[i] = y_i . dy_i:
//
//   dv_j = sum_i p[i, j] dy_i,   ds[i, j] = p[i, j] (dy_i . v_j - delta[i]),   dq_i = sum_j ds[i, j] k_j / sqrt(K),
//   dk_j = sum_i ds[i, j] q_i / sqrt(K),   dsink = -sum_i p[i, sink] delta[i]

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

void AddPair(Keys& keys, bool first, bool diagonal, int channels, const BackwardQueries& queries, const Ahead& ahead,
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

// What the next square needs, or the next head; and where this one's results go.
Ahead FetchAhead(const AttentionBackwardArgs& a, int key_tile, int query_tile) {
  Ahead ahead(a.q.channels);
  const int tiles = TilesOf(a.tokens);
  if (query_tile + 1 < tiles) {
    if (key_tile > 0) return ahead;
    ahead.Add(a.q.tile(query_tile + 1));
    ahead.Add(a.dq.tile(query_tile + 1));
    return ahead;
  }
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
  return ahead;
}

void Backward(const AttentionBackwardArgs& a, BackwardWorkspace& work) {
  Keys& keys = work.keys;
  const int K = a.q.channels, tiles = TilesOf(a.tokens);
  float* delta = work.ReserveDelta(tiles);
  keys.dk.Reserve(K);
  keys.dv.Reserve(K);
  FormDeltas(a, delta);
  const auto kept = [&](const uint64_t* all, int tile) {
    return all == nullptr ? nullptr : all + tile * a.kept_stride;
  };
  const auto queries = [&](int i) -> BackwardQueries {
    const float* stats = a.stats + size_t{2} * kTileTokens * i;
    return {a.q.tile(i), a.dy.tile(i), stats, stats + kTileTokens, delta + static_cast<size_t>(i) * kTileTokens,
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
      AddPair(keys, key_tile == 0, i == key_tile, K, queries(i), FetchAhead(a, key_tile, i), work.square);
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
  const TraceSpan span("attention.backward", [&] { return BackwardWork(args); });
  static thread_local BackwardWorkspace work;
  HWY_DYNAMIC_DISPATCH(Backward)(args, work);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
