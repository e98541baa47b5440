#ifndef FILIGREE_KERNELS_SDDMM_SDDMM_H_
#define FILIGREE_KERNELS_SDDMM_SDDMM_H_

#include <cstdint>
#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"

// Gradient of a weight matrix, all of it (exact regime).
//
//   dw[o, i]  =  or +=   sum over tiles n, tokens t of dy[n][o, t] * x[n][i, t]
//
// dY, and mostly X too, are zero where AbsTopK kept nothing: one entry in four. The kernel skips what dY's kept bits
// leave out, where they are given: a quarter of the dense arithmetic.
//
// Rows are given out in blocks, so that threads share one gradient: a call computes dw rows [row_begin, row_end).
//
// Shapes         dy: `tiles` tiles of [out][64]; x: as many of [in][64]; kept: per tile `out` words or null for "all";
//                dw: [out][in] row-major.
// Preconditions  dy is 0 where its kept bit is 0.
// Writes         rows [row_begin, row_end) of dw: overwrites, or adds where mode is kAdd. The whole sum over tokens is
//                formed first and added to dw last, once: so that dw = tree sum of shards.
// Determinism    the same bits however the rows are cut into calls, if the cuts are multiples of kSddmmRowBlock.
// Cost           2 * out * in * 64 * tiles dense FLOPs, a quarter with kept bits at afrac 1/4.

namespace filigree::kernels {

inline constexpr int kSddmmRowBlock = 64;

enum class SddmmWrite { kOverwrite, kAdd };

struct SddmmInput {
  const float* dy = nullptr;       // tile n at dy + n * dy_stride
  size_t dy_stride = 0;            // floats
  const uint64_t* kept = nullptr;  // tile n at kept + n * kept_stride; null: dy is dense
  size_t kept_stride = 0;          // words
  const float* x = nullptr;        // tile n at x + n * x_stride
  size_t x_stride = 0;
  int tiles = 0, out = 0, in = 0;
};

// Scratch of one thread, reused from call to call.
class SddmmScratch {
 public:
  float* Floats(size_t n);

 private:
  Buffer<float> floats_;
};

void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch);

// db[o] = or += sum over tiles and tokens of dy: tiles ascending; inside a tile the 16 logical lanes of
// kernels/base/simd.h, whose lane sums run on over the tiles and are added as a tree at the end.
void BiasGradient(const SddmmInput& input, SddmmWrite mode, float* db);

namespace ref {
void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch);
void BiasGradient(const SddmmInput& input, SddmmWrite mode, float* db);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SDDMM_SDDMM_H_
