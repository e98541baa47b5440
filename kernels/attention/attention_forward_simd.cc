#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "kernels/attention/ahead.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_check.h"
#include "kernels/attention/forward_workspace.h"
#include "kernels/base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_forward_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/attention/kept_lists-inl.h"
#include "kernels/attention/tile_pair-inl.h"
#include "kernels/attention/work.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

// The softmax is formed on line: for each query the largest logit so far, the sum of exp(logit - max) and, in y, the
// sum of exp(logit - max) v; a square with a larger logit scales both sums down. max is of the very q . k that are
// exponents, so that the largest term is exactly 1 however large the logits are.
struct Queries {
  float *q, *y;      // ForwardWorkspace's
  float *max, *sum;  // 64 each: the two halves of the tile's stats
};

// square = q . k, minus infinity where the key is hidden; max[j]: the largest by query.
template <class Range>
HWY_INLINE void ScoreRows(Range, const KeyLists& lists, const float* q, Square& square, const Ahead& ahead,
                          float* max_out) {
  const D d;
  const uint8_t* order = Range::kDiagonal ? lists.block_order : lists.order;
  V max[kRowVectors];
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) max[j] = hn::Load(d, max_out + j * kLanes);
  for (int i = Range::kBegin; i < Range::kEnd; ++i) {
    const int key = order[i];
    ahead.Step<0, 2>(i);
    V score[kRowVectors];
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) score[j] = hn::Zero(d);
    AddListed<Range::kFirst>(lists, key, q, score);
    FILIGREE_UNROLL for (int j = Range::kFirst; j < Range::kMaskEnd; ++j) {
      const V hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
      score[j] = hn::IfThenElse(Visible(key, j), score[j], hidden);
    }
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      max[j] = hn::Max(max[j], score[j]);
      hn::Store(score[j], d, square.row(key) + j * kLanes);
    }
  }
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) hn::Store(max[j], d, max_out + j * kLanes);
}

// square = 2^(square - max); sum += its rows, keys ascending.
template <class Range>
HWY_INLINE void ExpRows(Range, const Ahead& ahead, const float* max_in, Square& square, float* sum_out) {
  const D d;
  V sum[kRowVectors], max[kRowVectors];
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
    max[j] = hn::Load(d, max_in + j * kLanes);
    sum[j] = hn::Load(d, sum_out + j * kLanes);
  }
  for (int key = Range::kBegin; key < Range::kEnd; ++key) {
    ahead.Step<1, 2>(key);
    float* row = square.row(key);
    FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) {
      const V e = Exp2(d, hn::Sub(hn::Load(d, row + j * kLanes), max[j]));
      hn::Store(e, d, row + j * kLanes);
      sum[j] = hn::Add(sum[j], e);
    }
  }
  FILIGREE_UNROLL for (int j = Range::kFirst; j < kRowVectors; ++j) hn::Store(sum[j], d, sum_out + j * kLanes);
}

// Adds the keys of one tile to the running softmax of one tile of queries.
void AddKeys(ForwardWorkspace& work, ConstTile v, bool first, bool diagonal, const Queries& queries,
             const Ahead& ahead) {
  const D d;
  Square& square = work.square;
  alignas(64) float max[kTileTokens], sum[kTileTokens] = {}, shrink[kTileTokens];
  std::memcpy(max, queries.max, sizeof(max));
  ForRowRanges(diagonal, [&](auto range) HWY_ATTR { ScoreRows(range, work.k_lists, queries.q, square, ahead, max); });
  for (int t = 0; t < kTileTokens; t += kLanes) {
    const V larger = hn::Load(d, max + t), before = hn::LoadU(d, queries.max + t);
    hn::Store(Exp2(d, hn::Sub(before, larger)), d, shrink + t);
    hn::StoreU(larger, d, queries.max + t);
  }
  if (diagonal) ClearBelowDiagonal(square);
  ForRowRanges(diagonal, [&](auto range) HWY_ATTR { ExpRows(range, ahead, max, square, sum); });
  V factor[kRowVectors];
  for (int j = 0; j < kRowVectors; ++j) {
    factor[j] = hn::Load(d, shrink + j * kLanes);
    float* total = queries.sum + j * kLanes;
    hn::StoreU(hn::MulAdd(hn::LoadU(d, total), factor[j], hn::Load(d, sum + j * kLanes)), d, total);
  }
  for (int c = 0; c < v.channels; ++c) {
    V added[kRowVectors];
    SumKeptKeys(work.v_bits[c], v.row(c), square, added);
    for (int j = 0; j < kRowVectors; ++j) {
      float* y = queries.y + c * kTileTokens + j * kLanes;
      hn::Store(first ? added[j] : hn::MulAdd(hn::Load(d, y), factor[j], added[j]), d, y);
    }
  }
}

void StartQueries(const float* sink_score, ConstTile q, const Queries& queries) {
  const D d;
  const V scale = hn::Set(d, ExponentScale(q.channels));
  for (size_t i = 0; i < q.size(); i += kLanes) hn::Store(hn::Mul(hn::Load(d, q.data + i), scale), d, queries.q + i);
  for (int t = 0; t < kTileTokens; ++t) {
    queries.max[t] = sink_score != nullptr ? *sink_score : std::numeric_limits<float>::lowest();
    queries.sum[t] = sink_score != nullptr ? 1.0f : 0.0f;
  }
}

// y /= sum, and the sum becomes its inverse. Padding becomes 0 in both: that is how the backward pass ignores it.
void FinishQueries(int real, const Queries& queries, Tile out) {
  const D d;
  for (int t = 0; t < kTileTokens; t += kLanes) {
    const auto is_real = hn::Lt(hn::Iota(d, static_cast<float>(t)), hn::Set(d, static_cast<float>(real)));
    const V inverse = hn::IfThenElseZero(is_real, hn::Div(hn::Set(d, 1.0f), hn::LoadU(d, queries.sum + t)));
    hn::StoreU(inverse, d, queries.sum + t);
    for (int c = 0; c < out.channels; ++c) {
      const V y = hn::Load(d, queries.y + c * kTileTokens + t);
      hn::Store(hn::IfThenElseZero(is_real, hn::Mul(y, inverse)), d, out.row(c) + t);
    }
  }
}

// What the next square needs, or the next head begins with; and where this tile's results go.
Ahead FetchAhead(const AttentionForwardArgs& a, int key_tile, int query_tile) {
  Ahead ahead(a.q.channels);
  const int tiles = TilesOf(a.tokens);
  if (query_tile + 1 < tiles) {
    if (key_tile == 0) ahead.Add(a.q.tile(query_tile + 1));
    return ahead;
  }
  ahead.Add(a.y.tile(key_tile));
  if (key_tile + 1 < tiles) {
    ahead.Add(a.k.tile(key_tile + 1));
    ahead.Add(a.v.tile(key_tile + 1));
  } else {
    for (const ConstTileSeries& x : {a.q, a.k, a.v}) ahead.AddNextHead(x.tile(0));
  }
  return ahead;
}

void Forward(const AttentionForwardArgs& a, ForwardWorkspace& work) {
  const int K = a.q.channels, tiles = TilesOf(a.tokens);
  const float sink_score = a.sink != nullptr ? SinkExponent(*a.sink) : 0.0f;
  const size_t size = static_cast<size_t>(K) * kTileTokens;
  float* q = work.ReserveQueries(2 * size * tiles);
  const auto queries = [&](int tile) -> Queries {
    float* stats = a.stats + size_t{2} * kTileTokens * tile;
    return {q + 2 * size * tile, q + (2 * tile + 1) * size, stats, stats + kTileTokens};
  };
  for (int key_tile = 0; key_tile < tiles; ++key_tile) {
    const int real = a.tokens - key_tile * kTileTokens;
    const ConstTile k = a.k.tile(key_tile), v = a.v.tile(key_tile);
    const auto kept = [&](const uint64_t* all) { return all == nullptr ? nullptr : all + key_tile * a.kept_stride; };
    ReadKeptBits(k, kept(a.kept_k), WithoutBits::kNonzero, real, work.k_bits);
    ReadKeptBits(v, kept(a.kept_v), WithoutBits::kNonzero, real, work.v_bits);
    ListByKey(work.k_bits, k, work.k_lists);
    for (int i = key_tile; i < tiles; ++i) {
      if (key_tile == 0) StartQueries(a.sink != nullptr ? &sink_score : nullptr, a.q.tile(i), queries(i));
      AddKeys(work, v, key_tile == 0, i == key_tile, queries(i), FetchAhead(a, key_tile, i));
    }
    FinishQueries(real, queries(key_tile), a.y.tile(key_tile));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Forward);

void AttentionForward(const AttentionForwardArgs& args) {
  CheckArgs(args);
  const TraceSpan span("attention", [&] { return ForwardWork(args); });
  static thread_local ForwardWorkspace work;
  HWY_DYNAMIC_DISPATCH(Forward)(args, work);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
