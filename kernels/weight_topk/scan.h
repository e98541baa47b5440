#ifndef FILIGREE_KERNELS_WEIGHT_TOPK_SCAN_H_
#define FILIGREE_KERNELS_WEIGHT_TOPK_SCAN_H_

#include <cstdint>
#include <vector>

#include "kernels/weight_topk/entry.h"
#include "kernels/weight_topk/weight_topk.h"

// The passes over weights, in SIMD; each does one task's part. `bits` is MagnitudeBits, a word 64 consecutive entries.

namespace filigree::kernels {

// Magnitudes as two digits.
inline constexpr int kLowerBits = 15;
inline constexpr int kUpperBins = 1 << 16, kLowerBins = 1 << kLowerBits;

// Words [first, last) of a matrix.
struct WordRange {
  int64_t first = 0, last = 0;
};

// What the warm pass looks for. Bounds are upper digits only: in wide matrices those of all columns, the counts and a
// row of weights have to fit into L1 together.
struct Window {
  int32_t above = 0;                // bits > above: kept
  const uint16_t* below = nullptr;  // per unit (one for Unit::kNone): others with bits > below << 15 are candidates
};

// What one worker has found.
struct WindowFindings {
  std::vector<Entry> candidates;  // [0, candidate_count), the rest is room
  size_t candidate_count = 0;
  std::vector<uint8_t> unit_above;  // per unit: how many lie above, 255 meaning "255 or more"
  int64_t above = 0;
};

// Writes kept, adds to `found`.
void ScanWindow(const float* w, const WeightSelection& selection, const Window& window, WordRange words, uint64_t* kept,
                WindowFindings& found);

// Writes kept: bits > threshold. Returns how many are equal to it.
int64_t MarkAbove(const float* w, int64_t numel, int32_t threshold, WordRange words, uint64_t* kept);

// Keeps the first `count` entries with bits == threshold that are not kept yet; all above must be.
void KeepTies(const float* w, int64_t numel, int32_t threshold, WordRange words, int64_t count, uint64_t* kept);

// histogram[bits >> 15]++ for bits > floor (65536 bins).
// histogram[bits & 0x7fff]++ for bits >> 15 == upper (32768 bins).
void CountUpper(const float* w, int64_t n, int32_t floor, uint32_t* histogram);
void CountLower(const float* w, int64_t n, int32_t upper, uint32_t* histogram);

// best[0, count): the largest entries of w[0, n), whose indices begin at `index`; descending, 1 <= count <= n.
void TopOfRow(const float* w, int64_t index, int64_t n, int64_t count, Entry* best);

// The same for columns [first, first + n) of a matrix: best[n][count], 1 <= count <= rows. Reads them twice: the strip
// should fit into L2.
void TopOfColumns(const float* w, int64_t rows, int64_t cols, int64_t first, int64_t n, int64_t count, Entry* best);

void ApplyWords(const uint64_t* kept, int64_t numel, float factor, WordRange words, float* w);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_WEIGHT_TOPK_SCAN_H_
