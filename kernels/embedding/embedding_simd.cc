#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/embedding/embedding.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding/embedding_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/cache_control.h"
#include "kernels/embedding/transpose-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());
constexpr int kPrefetchChannels = 64;  // 64 rows are more streams than the hardware follows

// The table's row of each token, null for padding.
template <class T>
struct TokenRows {
  T* row[kTileTokens];

  TokenRows(T* table, const int32_t* token, int channels) {
    for (int t = 0; t < kTileTokens; ++t) {
      row[t] = token[t] < 0 ? nullptr : table + static_cast<size_t>(token[t]) * channels;
    }
  }
};

HWY_INLINE void PrefetchAhead(const float* row, int c, int c_end) {
  if (row != nullptr && c + kPrefetchChannels < c_end) hwy::Prefetch(row + c + kPrefetchChannels);
}

// store(value, channel, first token) gets every value of the gathered tile; `padding` stands for tokens without a row.
template <class Store>
HWY_INLINE void GatherBlocks(const TokenRows<const float>& rows, int c_end, V padding, Store store) {
  const D d;
  for (int c = 0; c + kLanes <= c_end; c += kLanes) {
    for (int t = 0; t < kTileTokens; t += kLanes) {
      V block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const float* row = rows.row[t + i];
        block[i] = row == nullptr ? padding : hn::LoadU(d, row + c);
        PrefetchAhead(row, c, c_end);
      }
      Transpose(d, block);
      for (int i = 0; i < kLanes; ++i) store(block[i], c + i, t);
    }
  }
}

void Gather(const float* table, const int32_t* token, GatherWrite mode, Tile x) {
  const D d;
  const TokenRows<const float> rows(table, token, x.channels);
  if (mode == GatherWrite::kOverwrite) {
    GatherBlocks(rows, x.channels, hn::Zero(d), [&](V v, int c, int t) HWY_ATTR { hn::Store(v, d, x.row(c) + t); });
  } else {
    // x + (-0) is x for every x, also for -0.
    GatherBlocks(rows, x.channels, hn::Set(d, -0.0f), [&](V v, int c, int t) HWY_ATTR {
      hn::Store(hn::Add(hn::Load(d, x.row(c) + t), v), d, x.row(c) + t);
    });
  }
  for (int c = x.channels / kLanes * kLanes; c < x.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) {
      const float* row = rows.row[t];
      if (mode == GatherWrite::kOverwrite) {
        x.at(c, t) = row == nullptr ? 0.0f : row[c];
      } else if (row != nullptr) {
        x.at(c, t) += row[c];
      }
    }
  }
}

// Rows are added one after the other, tokens ascending, so a token that occurs twice is no special case. A few tokens
// at a time: to write into 64 rows at once is three times slower.
void ScatterAdd(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable) {
  const D d;
  const TokenRows<float> rows(dtable, token, dx.channels);
  const int c_vectors = c_begin + (c_end - c_begin) / kLanes * kLanes;
  for (int t = 0; t < kTileTokens; t += kLanes) {
    for (int c = c_begin; c < c_vectors; c += kLanes) {
      V block[kLanes];
      for (int i = 0; i < kLanes; ++i) block[i] = hn::Load(d, dx.row(c + i) + t);
      Transpose(d, block);
      for (int i = 0; i < kLanes; ++i) {
        float* row = rows.row[t + i];
        if (row == nullptr) continue;
        hn::StoreU(hn::Add(hn::LoadU(d, row + c), block[i]), d, row + c);
        PrefetchAhead(row, c, c_end);
      }
    }
  }
  for (int c = c_vectors; c < c_end; ++c) {
    for (int t = 0; t < kTileTokens; ++t) {
      if (rows.row[t] != nullptr) rows.row[t][c] += dx.at(c, t);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Gather);
HWY_EXPORT(ScatterAdd);

void GatherRows(const float* table, const int32_t* token, GatherWrite mode, Tile x) {
  const TraceSpan span("gather_rows", [&] {
    const double moved = mode == GatherWrite::kAdd ? 12 : 8;
    return TraceWork{.bytes = moved * static_cast<double>(x.size()), .level = TraceLevel::kMemory};
  });
  HWY_DYNAMIC_DISPATCH(Gather)(table, token, mode, x);
}

void ScatterAddRows(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable) {
  CHECK(0 <= c_begin && c_begin <= c_end && c_end <= dx.channels, "channels [{}, {}) of {}", c_begin, c_end,
        dx.channels);
  const TraceSpan span("scatter_add_rows", [&] {
    const double entries = static_cast<double>(c_end - c_begin) * kTileTokens;
    return TraceWork{.flops = entries, .bytes = 12 * entries, .level = TraceLevel::kMemory};
  });
  HWY_DYNAMIC_DISPATCH(ScatterAdd)(dx, token, c_begin, c_end, dtable);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
