#ifndef FILIGREE_KERNELS_SDDMM_SDDMM_H_
#define FILIGREE_KERNELS_SDDMM_SDDMM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/bf16_row.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"

// Gradient of a weight matrix, all of it (exact regime).
//
//   dw[o, i]  =  or +=   sum over tiles n, tokens t of dy[n][o, t] * x[n][i, t]
//
// dY, and often X, are zero where AbsTopK kept nothing: one entry in four is left. Where kept bits are given the kernel
// visits the kept entries of dY, or of X if those are fewer: a quarter of the dense arithmetic.
//
// Shapes         dy: `tiles` tiles of [out][64]; x: as many of [in][64]; kept: per tile `out` words or null for "all";
// x_kept:
//                per tile `in` words or null; dw: [out][in] row-major, any alignment.
// Preconditions  dy and x are finite, and 0 where their kept bit is 0.
// x as bf16      x_bf16 instead of x: the same bits as with x widened. A part widens its rows of x in L1, once for
// every
//                512 of its rows (of dy, or where x keeps less, 128 of its columns of dy).
// Writes         the part of dw asked for: overwrites, or adds where mode is kAdd. The whole sum over tokens
//                is formed first and added last, once: so that dw = tree sum of shards.
// Determinism    bitwise, the same bits in ref, AVX2 and AVX-512 and however dw is cut into parts. dw: fused
//                multiply-adds onto one running sum from 0, over the kept tokens in ascending order.
// Cost           2 * out * in * 64 * tiles dense FLOPs, a quarter with kept bits at afrac 1/4; a part reads its rows of
//                dy once for every 128 of its columns (64 in AVX2, and where dy has no kept bits), and transposes its
//                columns of x once for every 512 of its rows.

namespace filigree::kernels {

enum class SddmmWrite { kOverwrite, kAdd };

struct SddmmInput {
  const float* dy = nullptr;       // tile n at dy + n * dy_stride
  size_t dy_stride = 0;            // floats
  const uint64_t* kept = nullptr;  // tile n at kept + n * kept_stride; null: dy is dense
  size_t kept_stride = 0;          // words
  const float* x = nullptr;        // tile n at x + n * x_stride
  size_t x_stride = 0;
  int tiles = 0, out = 0, in = 0;
  const uint64_t* x_kept = nullptr;  // of x, as `kept`: useful where dy keeps more than x, or is dense
  size_t x_kept_stride = 0;
  const uint32_t* x_bf16 = nullptr;  // in place of x (kernels/base/bf16_row.h); tile n at x_bf16 + n * x_bf16_stride
  size_t x_bf16_stride = 0;          // words
};

// Rows [row_begin, row_end) of dw and of these the columns [column_begin, column_end): one call's share of the work.
struct SddmmPart {
  int row_begin = 0, row_end = 0, column_begin = 0, column_end = 0;
};

// Scratch of one thread, reused from call to call: at most 288 KB.
class SddmmScratch {
 public:
  float* Floats(size_t n);

 private:
  Buffer<float> floats_;
};

// One part, by the calling thread. Parts of kSddmmRows rows and kSddmmColumns columns, or multiples, cost least.
inline constexpr int kSddmmRows = 512, kSddmmColumns = 128;
void DenseWeightGradient(const SddmmInput& input, const SddmmPart& part, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch);

// A dw [out][in] cut into such parts; into shorter ones where they would be too few to keep `threads` threads busy to
// the end. They may be done in any order, beside those of other matrices.
std::vector<SddmmPart> SddmmParts(int out, int in, int threads);

// All of dw, its parts given out to the threads of the pool. scratch: one a thread.
void DenseWeightGradient(const SddmmInput& input, SddmmWrite mode, float* dw, ThreadPool& pool,
                         std::span<SddmmScratch> scratch);

// Rows [row_begin, row_end), by the calling thread: blocks of kSddmmRowBlock are balanced best, of 256 and more
// cheapest.
inline constexpr int kSddmmRowBlock = 64;
void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch);

namespace ref {
void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SDDMM_SDDMM_H_
