#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"
#include "kernels/gemm/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "hwy/cache_control.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());

// A block of sums held in registers: kRows rows of kVectors vectors, beside one vector of weights and kVectors of x.
#if HWY_TARGET == HWY_AVX2
constexpr int kRows = 3;  // 12 of 16 registers; a tile is done in two halves
#else
constexpr int kRows = 6;  // 24 of 32
#endif
constexpr int kVectors = 4;
constexpr int kTokens = kVectors * kLanes;

// The weights of a block: that of row r and channel k is data[r * row_stride + k * k_stride].
struct Weights {
  const float* data;
  size_t row_stride, k_stride;
};

// What a block of sums is added to: y itself, or the bias where the block is the first of its row.
struct Start {
  const float* bias;
  bool first;
};

// y[r, t] = start + sum over k in [0, depth) of w[r, k] * x[k, t], for kCount rows of all 64 tokens.
template <int kCount>
HWY_INLINE void Block(const Weights& w, const float* x, int depth, Start start, float* y) {
  const D d;
  for (int t = 0; t < kTileTokens; t += kTokens) {
    V sum[kCount][kVectors];
    for (auto& row : sum) {
      for (V& s : row) s = hn::Zero(d);
    }
    const float* weights = w.data;
    for (int k = 0; k < depth; ++k, weights += w.k_stride) {
      V xs[kVectors];
      for (int j = 0; j < kVectors; ++j) xs[j] = hn::Load(d, x + k * kTileTokens + t + j * kLanes);
      for (int r = 0; r < kCount; ++r) {
        const V weight = hn::Set(d, weights[r * w.row_stride]);
        for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::MulAdd(weight, xs[j], sum[r][j]);
      }
    }
    for (int r = 0; r < kCount; ++r) {
      const V bias = hn::Set(d, start.bias == nullptr ? 0.0f : start.bias[r]);
      for (int j = 0; j < kVectors; ++j) {
        float* to = y + r * kTileTokens + t + j * kLanes;
        hn::Store(hn::Add(start.first ? bias : hn::Load(d, to), sum[r][j]), d, to);
      }
    }
  }
}

// Block for a number of rows known only at run time, kCount or fewer.
template <int kCount>
HWY_INLINE void BlockOf(int count, const Weights& w, const float* x, int depth, Start start, float* y) {
  if (count == kCount) {
    Block<kCount>(w, x, depth, start, y);
  } else if constexpr (kCount > 1) {
    BlockOf<kCount - 1>(count, w, x, depth, start, y);
  }
}

// All lines of the weights that the next block of rows reads.
HWY_INLINE void PrefetchRows(const float* w, int rows, size_t row_stride, int depth) {
  for (int r = 0; r < rows; ++r) {
    for (int k = 0; k < depth; k += 16) hwy::Prefetch(w + r * row_stride + k);
  }
}

void Forward(const float* w, size_t w_stride, int out, int in, ConstTile x, const float* bias, Tile y) {
  for (int k = 0; k < in; k += kGemmDepth) {
    const int depth = std::min(kGemmDepth, in - k);
    for (int o = 0; o < out; o += kRows) {
      const int rows = std::min(kRows, out - o);
      const float* from = w + o * w_stride + k;
      PrefetchRows(from + rows * w_stride, std::min(kRows, out - o - rows), w_stride, depth);
      BlockOf<kRows>(rows, {from, w_stride, 1}, x.row(k), depth, {bias == nullptr ? nullptr : bias + o, k == 0},
                     y.row(o));
    }
  }
}

// The weights of a block of dx lie in columns: a chunk of them is copied first, row by row, into panels of kPanel
// columns, so that memory is read in long stretches and the lines of a column do not meet in one set of the cache.
constexpr int kPanel = 48, kPanels = 8, kChunk = kPanel * kPanels;

// panels[c / kPanel][k][c % kPanel] = w[k][c]; columns past the last are left as they are.
HWY_INLINE void CopyChunk(const float* w, int in, int depth, int width, float* panels) {
  const D d;
  for (int k = 0; k < depth; ++k, w += in) {
    float* to = panels + k * kPanel;
    int c = 0;
    for (; c + kPanel <= width; c += kPanel, to += kGemmDepth * kPanel) {
      for (int j = 0; j < kPanel; j += kLanes) hn::Store(hn::LoadU(d, w + c + j), d, to + j);
    }
    std::copy_n(w + c, width - c, to);
  }
}

void Backward(const float* w, int out, int in, ConstTile dy, bool add, Tile dx) {
  alignas(64) float panels[kPanels * kGemmDepth * kPanel];
  for (int k = 0; k < out; k += kGemmDepth) {
    const int depth = std::min(kGemmDepth, out - k);
    for (int first = 0; first < in; first += kChunk) {
      const int width = std::min(kChunk, in - first);
      CopyChunk(w + size_t{1} * k * in + first, in, depth, width, panels);
      for (int c = 0; c < width; c += kRows) {
        const float* weights = panels + c / kPanel * (kGemmDepth * kPanel) + c % kPanel;
        BlockOf<kRows>(std::min(kRows, width - c), {weights, 1, kPanel}, dy.row(k), depth, {nullptr, k == 0 && !add},
                       dx.row(first + c));
      }
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

namespace {

TraceWork WorkOf(double out, double in) {
  return {.flops = 2 * out * in * kTileTokens,
          .bytes = 4 * (out * in + (out + in) * kTileTokens),
          .level = TraceLevel::kMemory};
}

}  // namespace

void GemmForward(const float* w, int out, int in, ConstTile x, const float* bias, Tile y) {
  GemmForward(w, in, out, in, x, bias, y);
}

void GemmForward(const float* w, int w_stride, int out, int in, ConstTile x, const float* bias, Tile y) {
  CHECK(x.channels == in && y.channels == out, "w is {} x {}, x has {} channels, y {}", out, in, x.channels,
        y.channels);
  CHECK(in > 0 && w_stride >= in, "a layer of {} inputs, rows {} apart", in, w_stride);
  const TraceSpan span("gemm", [&] { return WorkOf(out, in); });
  HWY_DYNAMIC_DISPATCH(Forward)(w, w_stride, out, in, x, bias, y);
}

void GemmBackward(const float* w, int out, int in, ConstTile dy, Tile dx) {
  GemmBackward(w, out, in, dy, GemmWrite::kOverwrite, dx);
}

void GemmBackward(const float* w, int out, int in, ConstTile dy, GemmWrite write, Tile dx) {
  CHECK(dy.channels == out && dx.channels == in, "w is {} x {}, dy has {} channels, dx {}", out, in, dy.channels,
        dx.channels);
  CHECK(out > 0, "a layer without outputs");
  const TraceSpan span("gemm.backward", [&] { return WorkOf(out, in); });
  HWY_DYNAMIC_DISPATCH(Backward)(w, out, in, dy, write == GemmWrite::kAdd, dx);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
