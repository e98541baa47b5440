#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/sddmm/sddmm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sddmm/sddmm_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/sddmm/accumulate-inl.h"

#include "hwy/highway.h"

// A part of dw is done in blocks: some rows and some columns, whose sums stay in L2 while they are added to tile by
// tile.

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

constexpr int kSumRows = kSddmmRows;  // of a block: its sums are at most 256 KB
static_assert(kSddmmColumns % kKeptColumns == 0 && kSddmmColumns % kDenseColumns == 0 && kSumRows % 16 == 0);

// One factor of the product, dy or x, and which of its channels take part.
struct Factor {
  const float* data;  // null: as bf16
  size_t stride;
  const uint64_t* kept;
  size_t kept_stride;
  int first, count;
  const uint32_t* bf16 = nullptr;
  size_t bf16_stride = 0;

  // Channels [offset, offset + n) of tile `tile`, in `scratch` where they have to be widened.
  const float* Rows(int tile, int offset, int n, float* scratch) const {
    if (bf16 == nullptr) return data + tile * stride + size_t{kTileTokens} * (first + offset);
    const uint32_t* from = bf16 + tile * bf16_stride + size_t{kBf16RowWords} * (first + offset);
    for (int c = 0; c < n; ++c) WidenRow(from + size_t{kBf16RowWords} * c, scratch + size_t{kTileTokens} * c);
    return scratch;
  }
  const uint64_t* bits(int n) const { return kept + n * kept_stride + first; }
  // Channels [first + offset, first + offset + n), or fewer at the end.
  Factor Slice(int offset, int n) const {
    return {data, stride, kept, kept_stride, first + offset, std::min(n, count - offset), bf16, bf16_stride};
  }
  // The share of kept entries in the first `tiles` tiles.
  double KeptShare(int tiles) const {
    if (kept == nullptr || tiles * count == 0) return 1;
    int64_t entries = 0;
    for (int n = 0; n < tiles; ++n) {
      for (int c = 0; c < count; ++c) entries += std::popcount(bits(n)[c]);
    }
    return static_cast<double>(entries) / (static_cast<double>(tiles) * count * kTileTokens);
  }
};

// Where the sum of a row of dy and a row of x goes: dw[dy's channel][x's channel].
struct Target {
  float* dw;
  size_t stride;
  SddmmWrite mode;

  void Write(const float* sums, int n, int row, int column) const {
    float* to = dw + row * stride + column;
    if (mode == SddmmWrite::kOverwrite) {
      std::copy_n(sums, n, to);
    } else {
      for (int i = 0; i < n; ++i) to[i] += sums[i];
    }
  }
};

// sums[r][c] = sum over tiles and tokens of rows[r] * columns[c]; scratch for the transposed tile. What has to be
// widened passes through L1 in pieces of kWidened channels.
constexpr int kWidened = 32;
template <int kColumns>
void SumBlock(const Factor& rows, const Factor& columns, int tiles, bool dense, float* transposed, float* sums) {
  alignas(64) float wide[kWidened * kTileTokens];
  const int row_step = rows.bf16 == nullptr ? rows.count : kWidened;
  const int column_step = columns.bf16 == nullptr ? columns.count : kWidened;
  std::fill_n(sums, rows.count * kColumns, 0.0f);
  for (int n = 0; n < tiles; ++n) {
    for (int c = 0; c < columns.count; c += column_step) {
      const int some = std::min(column_step, columns.count - c);
      TransposeColumns<kColumns>(columns.Rows(n, c, some, wide), some, transposed + c);
    }
    ClearColumns<kColumns>(columns.count, transposed);
    for (int r = 0; r < rows.count; r += row_step) {
      const int some = std::min(row_step, rows.count - r);
      const float* values = rows.Rows(n, r, some, wide);
      if (dense) {
        AddDense(values, some, transposed, sums + r * kColumns);
      } else {
        AddKept(values, rows.bits(n) + r, some, transposed, sums + r * kColumns);
      }
    }
  }
}

// Blocks with dy's channels in rows.
template <int kColumns>
void ByRows(const Factor& dy, const Factor& x, int tiles, bool dense, const Target& target, float* scratch) {
  float* sums = scratch + kColumns * kTileTokens;
  for (int o = 0; o < dy.count; o += kSumRows) {
    const Factor rows = dy.Slice(o, kSumRows);
    for (int i = 0; i < x.count; i += kColumns) {
      const Factor columns = x.Slice(i, kColumns);
      SumBlock<kColumns>(rows, columns, tiles, dense, scratch, sums);
      for (int r = 0; r < rows.count; ++r) {
        target.Write(sums + r * kColumns, columns.count, rows.first + r, columns.first);
      }
    }
  }
}

// Blocks with x's channels in rows, where x keeps less than dy: they are transposed on their way into dw.
void ByColumns(const Factor& dy, const Factor& x, int tiles, const Target& target, float* scratch) {
  float* sums = scratch + kKeptColumns * kTileTokens;
  alignas(64) float square[16][16];
  for (int i = 0; i < x.count; i += kSumRows) {
    const Factor rows = x.Slice(i, kSumRows);
    for (int o = 0; o < dy.count; o += kKeptColumns) {
      const Factor columns = dy.Slice(o, kKeptColumns);
      SumBlock<kKeptColumns>(rows, columns, tiles, false, scratch, sums);
      for (int r = 0; r < rows.count; r += 16) {
        for (int c = 0; c < columns.count; c += 16) {
          for (int k = 0; k < 256; k += 4 * 4) {
            const int a = k / 64 * 4, b = k / 16 % 4 * 4;
            TransposeFour(sums + (r + a) * kKeptColumns + c + b, kKeptColumns, &square[b][a], 16);
          }
          for (int k = 0; k < std::min(16, columns.count - c); ++k) {
            target.Write(square[k], std::min(16, rows.count - r), columns.first + c + k, rows.first + r);
          }
        }
      }
    }
  }
}

// Above this share of kept entries the dense kernel is faster.
constexpr double kDenseShare = 0.8;

void Part(const SddmmInput& input, const SddmmPart& part, SddmmWrite mode, float* dw, SddmmScratch& scratch) {
  const Factor dy{input.dy,          input.dy_stride, input.kept,
                  input.kept_stride, part.row_begin,  part.row_end - part.row_begin};
  const Factor x{input.x,           input.x_stride,
                 input.x_kept,      input.x_kept_stride,
                 part.column_begin, part.column_end - part.column_begin,
                 input.x_bf16,      input.x_bf16_stride};
  const Target target{dw, static_cast<size_t>(input.in), mode};
  float* floats = scratch.Floats(size_t{1} * std::max(kKeptColumns, kDenseColumns) * (kTileTokens + kSumRows));
  const double dy_share = dy.KeptShare(input.tiles), x_share = x.KeptShare(input.tiles);
  if (std::min(dy_share, x_share) > kDenseShare) {
    ByRows<kDenseColumns>(dy, x, input.tiles, true, target, floats);
  } else if (dy_share <= x_share) {
    ByRows<kKeptColumns>(dy, x, input.tiles, false, target, floats);
  } else {
    ByColumns(dy, x, input.tiles, target, floats);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Part);

namespace {

// Entries of the channels [begin, end) that are kept, over all tiles.
double KeptEntries(const uint64_t* kept, size_t stride, int tiles, int begin, int end) {
  int64_t count = 0;
  for (int n = 0; n < tiles; ++n) {
    for (int c = begin; c < end; ++c) count += kept == nullptr ? kTileTokens : std::popcount(kept[n * stride + c]);
  }
  return static_cast<double>(count);
}

// What is not known to be zero: as dY keeps, or X if that is less.
TraceWork WorkOf(const SddmmInput& in, const SddmmPart& part) {
  const double rows = part.row_end - part.row_begin, columns = part.column_end - part.column_begin;
  const double by_dy = columns * KeptEntries(in.kept, in.kept_stride, in.tiles, part.row_begin, part.row_end);
  const double by_x = rows * KeptEntries(in.x_kept, in.x_kept_stride, in.tiles, part.column_begin, part.column_end);
  const double x_share = in.x_bf16 == nullptr ? 1 : 0.5;
  return {.flops = 2 * std::min(by_dy, by_x),
          .bytes = 4 * ((rows + x_share * columns) * in.tiles * kTileTokens + rows * columns),
          .level = TraceLevel::kMemory};
}

}  // namespace

void DenseWeightGradient(const SddmmInput& input, const SddmmPart& part, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch) {
  CHECK(0 <= part.row_begin && part.row_begin <= part.row_end && part.row_end <= input.out, "rows [{}, {}) of {}",
        part.row_begin, part.row_end, input.out);
  CHECK(0 <= part.column_begin && part.column_begin <= part.column_end && part.column_end <= input.in,
        "columns [{}, {}) of {}", part.column_begin, part.column_end, input.in);
  const TraceSpan span("weight_gradient", [&] { return WorkOf(input, part); });
  HWY_DYNAMIC_DISPATCH(Part)(input, part, mode, dw, scratch);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
