#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/sddmm/sddmm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sddmm/sddmm_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/cache_control.h"

#include "hwy/highway.h"

// A block of dw, some rows and some columns, is summed tile by tile. X is transposed into L1 first, kColumns
// channels of one token in a row: an entry dy[o, t] then costs one broadcast and a fused multiply-add for each vector
// of that row, while the sums of row o lie in registers. Entries that are not kept cost nothing: their bits are not
// visited.

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());

// Columns of a block. Sparse rows: eight sums a row hide the latency of the multiply-adds, and the transposed tile
// still fits L1 (32 KB with AVX-512, 16 KB with AVX2). Dense rows: 16 KB, as all of it is read for every few rows.
constexpr int kKeptColumns = 8 * kLanes;
constexpr int kDenseColumns = 64;
constexpr int kSumRows = kSddmmRows;  // of a block: its sums are at most 256 KB, in L2
static_assert(kSddmmColumns % kKeptColumns == 0 && kSddmmColumns % kDenseColumns == 0);

// to[t][i] = from[i][t] for 4 rows of 64 tokens.
HWY_INLINE void TransposeFour(const float* from, int t, float* to, size_t to_stride) {
  const hn::FixedTag<float, 4> d;
  const auto a = hn::Load(d, from + t), b = hn::Load(d, from + t + kTileTokens);
  const auto c = hn::Load(d, from + t + 2 * kTileTokens), e = hn::Load(d, from + t + 3 * kTileTokens);
  const auto ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
  const auto be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
  hn::Store(hn::InterleaveLower(d, ac_low, be_low), d, to);
  hn::Store(hn::InterleaveUpper(d, ac_low, be_low), d, to + to_stride);
  hn::Store(hn::InterleaveLower(d, ac_high, be_high), d, to + 2 * to_stride);
  hn::Store(hn::InterleaveUpper(d, ac_high, be_high), d, to + 3 * to_stride);
}

// xt[t][i] = x[i, t]; columns past the last are 0. Sixteen columns at a time: a line of xt is written at once, as the
// lines of one column all fall into few sets of L1.
template <int kColumns>
void TransposeColumns(const float* x, int columns, float* xt) {
  int i = 0;
  for (; i + 16 <= columns; i += 16) {
    for (int t = 0; t < kTileTokens; t += 4) {
      const float* ahead = x + (i + 16 + t / 4) * kTileTokens;
      for (int line = 0; line < 4; ++line) hwy::Prefetch(ahead + 16 * line);
      for (int c = i; c < i + 16; c += 4) TransposeFour(x + c * kTileTokens, t, xt + t * kColumns + c, kColumns);
    }
  }
  for (; i < kColumns; ++i) {
    for (int t = 0; t < kTileTokens; ++t) xt[t * kColumns + i] = i < columns ? x[i * kTileTokens + t] : 0.0f;
  }
}

// sums[o][i] += sum over the kept tokens t of dy[o, t] * xt[t][i]
void AddKept(const float* dy, const uint64_t* kept, int rows, const float* xt, float* sums) {
  constexpr int kVectors = kKeptColumns / kLanes;
  const D d;
  for (int o = 0; o < rows; ++o, dy += kTileTokens, sums += kKeptColumns) {
    V sum[kVectors];
    for (int j = 0; j < kVectors; ++j) sum[j] = hn::Load(d, sums + j * kLanes);
    for (uint64_t left = kept[o]; left != 0; left &= left - 1) {
      const size_t t = hwy::Num0BitsBelowLS1Bit_Nonzero64(left);
      const V value = hn::Set(d, dy[t]);
      const float* x = xt + t * kKeptColumns;
      for (int j = 0; j < kVectors; ++j) sum[j] = hn::MulAdd(value, hn::Load(d, x + j * kLanes), sum[j]);
    }
    for (int j = 0; j < kVectors; ++j) hn::Store(sum[j], d, sums + j * kLanes);
  }
}

// As AddKept for kRows rows of which every token is kept: a vector of xt is loaded once for them all.
template <int kRows>
HWY_INLINE void AddDenseRows(const float* dy, const float* xt, float* sums) {
  constexpr int kVectors = 4;
  const D d;
  for (int i = 0; i < kDenseColumns; i += kVectors * kLanes) {
    V sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::Load(d, sums + r * kDenseColumns + i + j * kLanes);
    }
    for (int t = 0; t < kTileTokens; ++t) {
      V x[kVectors];
      for (int j = 0; j < kVectors; ++j) x[j] = hn::Load(d, xt + t * kDenseColumns + i + j * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const V value = hn::Set(d, dy[r * kTileTokens + t]);
        for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::MulAdd(value, x[j], sum[r][j]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) hn::Store(sum[r][j], d, sums + r * kDenseColumns + i + j * kLanes);
    }
  }
}

void AddDense(const float* dy, int rows, const float* xt, float* sums) {
  constexpr int kRows = kLanes == 16 ? 6 : 3;  // with four vectors each, three quarters of the registers
  int o = 0;
  for (; o + kRows <= rows; o += kRows) AddDenseRows<kRows>(dy + o * kTileTokens, xt, sums + o * kDenseColumns);
  for (; o < rows; ++o) AddDenseRows<1>(dy + o * kTileTokens, xt, sums + o * kDenseColumns);
}

void StoreSums(const float* sums, size_t sums_stride, int rows, int columns, SddmmWrite mode, float* dw,
               size_t dw_stride) {
  for (int o = 0; o < rows; ++o, sums += sums_stride, dw += dw_stride) {
    if (mode == SddmmWrite::kOverwrite) {
      std::copy_n(sums, columns, dw);
    } else {
      for (int i = 0; i < columns; ++i) dw[i] += sums[i];
    }
  }
}

// Rows [o, o + rows) and columns [i, i + columns) of dw.
template <int kColumns>
void Block(const SddmmInput& input, int o, int rows, int i, int columns, SddmmWrite mode, float* dw, float* scratch) {
  float* xt = scratch;
  float* sums = xt + kColumns * kTileTokens;
  std::fill_n(sums, rows * kColumns, 0.0f);
  for (int n = 0; n < input.tiles; ++n) {
    TransposeColumns<kColumns>(input.x + n * input.x_stride + size_t{kTileTokens} * i, columns, xt);
    const float* dy = input.dy + n * input.dy_stride + size_t{kTileTokens} * o;
    if (input.kept == nullptr) {
      AddDense(dy, rows, xt, sums);
    } else {
      AddKept(dy, input.kept + n * input.kept_stride + o, rows, xt, sums);
    }
  }
  StoreSums(sums, kColumns, rows, columns, mode, dw + size_t{1} * o * input.in + i, input.in);
}

void Part(const SddmmInput& input, const SddmmPart& part, SddmmWrite mode, float* dw, SddmmScratch& scratch) {
  const int step = input.kept == nullptr ? kDenseColumns : kKeptColumns;
  float* floats = scratch.Floats(size_t{1} * step * (kTileTokens + kSumRows));
  for (int o = part.row_begin; o < part.row_end; o += kSumRows) {
    const int rows = std::min(kSumRows, part.row_end - o);
    for (int i = part.column_begin; i < part.column_end; i += step) {
      const int columns = std::min(step, part.column_end - i);
      if (input.kept == nullptr) {
        Block<kDenseColumns>(input, o, rows, i, columns, mode, dw, floats);
      } else {
        Block<kKeptColumns>(input, o, rows, i, columns, mode, dw, floats);
      }
    }
  }
}

void Bias(const SddmmInput& input, SddmmWrite mode, float* db) {
  constexpr int kLaneVectors = 16 / kLanes;  // vectors that hold the 16 logical lanes
  const D d;
  alignas(64) float lane[16];
  for (int o = 0; o < input.out; ++o) {
    V lanes[kLaneVectors];
    for (V& v : lanes) v = hn::Zero(d);
    for (int n = 0; n < input.tiles; ++n) {
      const float* dy = input.dy + n * input.dy_stride + size_t{kTileTokens} * o;
      for (int t = 0; t < kTileTokens; t += 16) {
        for (int j = 0; j < kLaneVectors; ++j) lanes[j] = hn::Add(lanes[j], hn::Load(d, dy + t + j * kLanes));
      }
    }
    for (int j = 0; j < kLaneVectors; ++j) hn::Store(lanes[j], d, lane + j * kLanes);
    for (int distance = 8; distance >= 1; distance /= 2) {
      for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
    }
    db[o] = mode == SddmmWrite::kAdd ? db[o] + lane[0] : lane[0];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Part);
HWY_EXPORT(Bias);

void DenseWeightGradient(const SddmmInput& input, const SddmmPart& part, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch) {
  CHECK(0 <= part.row_begin && part.row_begin <= part.row_end && part.row_end <= input.out, "rows [{}, {}) of {}",
        part.row_begin, part.row_end, input.out);
  CHECK(0 <= part.column_begin && part.column_begin <= part.column_end && part.column_end <= input.in,
        "columns [{}, {}) of {}", part.column_begin, part.column_end, input.in);
  HWY_DYNAMIC_DISPATCH(Part)(input, part, mode, dw, scratch);
}

void BiasGradient(const SddmmInput& input, SddmmWrite mode, float* db) { HWY_DYNAMIC_DISPATCH(Bias)(input, mode, db); }

}  // namespace filigree::kernels
#endif  // HWY_ONCE
