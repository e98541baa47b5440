#ifndef FILIGREE_KERNELS_SHARED_TOPK_SHARED_TOPK_H_
#define FILIGREE_KERNELS_SHARED_TOPK_SHARED_TOPK_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "kernels/weight_topk/weight_topk.h"

// One threshold over several matrices: how the k entries that all of them keep together fall to each.
//
//   1. in every matrix every unit (a row, or a column) keeps its min(min_alive, entries of the unit) largest |w|
//   2. the other k - kept so far go to the largest |w| among the rest of all matrices
//   ties: the earlier matrix, in it the lower entry; exact zeros included; NaN is larger than every number
//
// The shares are all there is to know: the mask of a matrix is what SelectWeights (kernels/weight_topk) or
// SelectCandidates (kernels/candidate_topk) choose for its share as k and the same min alive, bit for bit.

namespace filigree::kernels {

struct SharingMatrix {
  const float* w = nullptr;  // [rows][cols], or one float a candidate
  int64_t rows = 0, cols = 0;
  const PatternView* pattern = nullptr;  // its candidates; null: it is whole
  int min_alive = 0;
  Unit unit = Unit::kNone;

  int64_t entries() const { return pattern == nullptr ? rows * cols : pattern->nnz(); }
};

// Entries that each matrix keeps: k together. min alive's entries <= k <= all entries; each matrix has fewer than 2^32.
// threshold     in: the last call's, a guess (any content gives the same shares); out: the smallest magnitude that step
//               2 kept, 0 if it kept none. May be null.
// Determinism   bitwise, for any number of threads, any guess.
// Memory        a quarter of a megabyte a thread, and 8 bytes an entry of step 1.
// Cost          three reads of all w, one of which with a close guess counts few entries; one or two more of matrices
//               with min alive.
std::vector<int64_t> ShareEntries(std::span<const SharingMatrix> matrices, int64_t k, float* threshold,
                                  ThreadPool& pool);

namespace ref {
// kept[m]: the bitmap of matrix m over its entries, all words written.
void SelectSharing(std::span<const SharingMatrix> matrices, int64_t k, std::span<uint64_t* const> kept);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SHARED_TOPK_SHARED_TOPK_H_
