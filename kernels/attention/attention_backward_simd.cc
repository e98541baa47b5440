#include <algorithm>
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
  ForRowRanges(diagonal, [&](auto range) HWY_ATTR {
    ExponentialRows(range, keys.k_lists, queries, ahead, square);
    ValueRows(range, keys.v_lists, queries, ahead, square, keys.dv);
    KeyRows(range, keys.k_lists, queries, ahead, square, keys.dk);
  });
  if (diagonal) ClearBelowDiagonal(square);
  for (int c = 0; c < channels; ++c) {
    V added[kRowVectors];
    SumKeptKeys(keys.k_bits[c], keys.k.row(c), square, added);
    for (int j = 0; j < kRowVectors; ++j) {
      float* dq = queries.dq + c * kTileTokens + j * kLanes;
      const V before = first ? hn::Zero(d) : hn::Load(d, dq);
      hn::Store(hn::MulAdd(added[j], hn::Set(d, root), before), d, dq);
    }
  }
}

// Zero where q was not kept.
void WriteQueries(const uint64_t* kept, const float* sums, Tile dq) {
  const D d;
  for (int c = 0; c < dq.channels; ++c, sums += kTileTokens) {
    const uint64_t word = kept != nullptr ? kept[c] : ~uint64_t{0};
    const uint8_t* bits = reinterpret_cast<const uint8_t*>(&word);
    for (int t = 0; t < kTileTokens; t += kLanes) {
      const auto keep = hn::LoadMaskBits(d, bits + t / 8);
      hn::Store(hn::IfThenElseZero(keep, hn::Load(d, sums + t)), d, dq.row(c) + t);
    }
  }
}

void WriteKeys(const KeyLists& lists, KeySums& sums, float factor, Tile out) {
  const int32_t* places = lists.places.data();
  const float* sum = sums.of(0);
  std::memset(out.data, 0, out.size() * sizeof(float));
  for (int i = 0; i < lists.size(); ++i) out.data[places[i]] = sum[i] * factor;
}

// The copies of one tile; sink_sum += p[sink] delta.
void CopyTile(const AttentionBackwardArgs& a, int tile, float scale, const float* sink_score, QueryCopies& copies,
              LaneSum& sink_sum) {
  const D d;
  const ConstTile q = a.q.tile(tile), y = a.y.tile(tile), dy = a.dy.tile(tile);
  const float* stats = a.stats + size_t{2} * kTileTokens * tile;
  V inverse[kRowVectors], delta[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) {
    inverse[j] = hn::LoadU(d, stats + kTileTokens + j * kLanes);
    delta[j] = hn::Zero(d);
  }
  for (int c = 0; c < q.channels; ++c) {
    FILIGREE_UNROLL for (int j = 0; j < kRowVectors; ++j) {
      const auto is_real = hn::Ne(inverse[j], hn::Zero(d));
      const size_t t = static_cast<size_t>(j) * kLanes;
      const V g = hn::IfThenElseZero(is_real, hn::Mul(hn::Load(d, dy.row(c) + t), inverse[j]));
      const V unit = hn::IfThenElseZero(is_real, hn::Mul(hn::Load(d, q.row(c) + t), hn::Set(d, scale)));
      delta[j] = hn::MulAdd(hn::Load(d, y.row(c) + t), g, delta[j]);
      hn::Store(g, d, copies.dy(tile) + c * kTileTokens + t);
      hn::Store(unit, d, copies.q(tile) + c * kTileTokens + t);
    }
  }
  for (int j = 0; j < kRowVectors; ++j) {
    const auto is_real = hn::Ne(inverse[j], hn::Zero(d));
    const V max = hn::IfThenElseZero(is_real, hn::LoadU(d, stats + j * kLanes));
    hn::Store(max, d, copies.max(tile) + j * kLanes);
    hn::Store(delta[j], d, copies.delta(tile) + j * kLanes);
    if (sink_score == nullptr) continue;
    const V e = Exp2(d, hn::Sub(hn::Set(d, *sink_score), max));
    sink_sum.Add(j, hn::IfThenElseZero(is_real, e), delta[j]);
  }
}

// What the next square needs, or the next head begins with; and where this tile's results go.
Ahead FetchAhead(const AttentionBackwardArgs& a, int key_tile, int query_tile) {
  Ahead ahead(a.q.channels);
  const int tiles = TilesOf(a.tokens);
  if (query_tile + 1 < tiles) {
    if (key_tile > 0) return ahead;
    for (const ConstTileSeries& x : {a.q, a.y, a.dy}) ahead.Add(x.tile(query_tile + 1));
    return ahead;
  }
  for (const ConstTileSeries& x : {ConstTileSeries(a.dq), ConstTileSeries(a.dk), ConstTileSeries(a.dv)}) {
    ahead.Add(x.tile(key_tile));
  }
  if (key_tile + 1 < tiles) {
    ahead.Add(a.k.tile(key_tile + 1));
    ahead.Add(a.v.tile(key_tile + 1));
  } else {
    for (const ConstTileSeries& x : {a.q, a.y, a.dy}) ahead.AddNextHead(x.tile(0));
  }
  if (key_tile + 2 >= tiles) {
    ahead.AddNextHead(a.k.tile(0));
    ahead.AddNextHead(a.v.tile(0));
  }
  return ahead;
}

const uint64_t* KeptOf(const uint64_t* all, int tile, const AttentionBackwardArgs& a) {
  return all == nullptr ? nullptr : all + tile * a.kept_stride;
}

void StartKeys(const AttentionBackwardArgs& a, int tile, Keys& keys) {
  const int real = a.tokens - tile * kTileTokens;
  keys.k = a.k.tile(tile);
  keys.v = a.v.tile(tile);
  ReadKeptBits(keys.k, KeptOf(a.kept_k, tile, a), WithoutBits::kAll, real, keys.k_bits);
  ReadKeptBits(keys.v, KeptOf(a.kept_v, tile, a), WithoutBits::kAll, real, keys.v_bits);
  ListByKey(keys.k_bits, keys.k, keys.k_lists);
  ListByKey(keys.v_bits, keys.v, keys.v_lists);
  keys.dk.Clear(keys.k_lists);
  keys.dv.Clear(keys.v_lists);
}

void Backward(const AttentionBackwardArgs& a, BackwardWorkspace& work) {
  Keys& keys = work.keys;
  QueryCopies& copies = work.queries;
  const int K = a.q.channels, tiles = TilesOf(a.tokens);
  const float sink_score = a.sink != nullptr ? SinkExponent(*a.sink) : 0.0f;
  LaneSum sink_sum[4];
  for (LaneSum& s : sink_sum) s.Clear();
  copies.Reserve(K, tiles);
  for (int key_tile = 0; key_tile < tiles; ++key_tile) {
    StartKeys(a, key_tile, keys);
    for (int i = key_tile; i < tiles; ++i) {
      if (key_tile == 0)
        CopyTile(a, i, ExponentScale(K), a.sink != nullptr ? &sink_score : nullptr, copies, sink_sum[0]);
      const BackwardQueries queries = {copies.q(i), copies.dy(i), copies.max(i), copies.delta(i), copies.dq(i)};
      AddPair(keys, key_tile == 0, i == key_tile, K, queries, FetchAhead(a, key_tile, i), work.square);
    }
    // The copies of q lack 1 / log2(e) to what dk is a sum of.
    WriteKeys(keys.k_lists, keys.dk, std::numbers::ln2_v<float>, a.dk.tile(key_tile));
    WriteKeys(keys.v_lists, keys.dv, 1.0f, a.dv.tile(key_tile));
    WriteQueries(KeptOf(a.kept_q, key_tile, a), copies.dq(key_tile), a.dq.tile(key_tile));
  }
  if (a.sink != nullptr) *a.dsink -= hn::GetLane(AddLanes(sink_sum));
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
