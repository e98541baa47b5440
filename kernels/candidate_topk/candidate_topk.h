#ifndef FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_
#define FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_

#include <cstdint>

#include "kernels/csr/pattern.h"
#include "kernels/weight_topk/weight_topk.h"

// The mask of one matrix that exists on candidates only: exactly k of them by magnitude, with a minimum for every unit.
//
//   1. every unit (a row, or a column) keeps its min(min_alive, candidates of the unit) candidates of largest |w|,
//   2. the other k - kept so far go to the largest |w| among the rest of all candidates,
//   ties: the lower entry (so the lower global index) wins, exact zeros included; NaN counts as larger than every
//   number. Where everything is a candidate this is SelectWeights of kernels/weight_topk, bit for bit.
//
// Source: Gao et al. 2025, section 2, on the candidate sets of docs/policy.md.

namespace filigree::kernels {

struct CandidateSelection {
  int64_t k = 0;      // 0 <= k <= candidates
  int min_alive = 0;  // with the sum over units of min(min_alive, candidates of the unit) <= k
  Unit unit = Unit::kNone;
};

// w             one float a candidate.
// threshold     in: the last step's, a guess (membership may have changed since; any content gives the same mask); out:
//               this one's. `value` is what step 2 kept least of, 0 if it kept none or everything. May be null.
// kept          bitmap over the entries, pattern.words() words, all written, unused bits 0.
// Threads       runs on the calling thread; several matrices may be selected at once.
// Determinism   bitwise, whatever the guess.
// Cost          with a close guess: one read of w; for columns also one of the indices.
void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection,
                      WeightThreshold* threshold, uint64_t* kept);

// w[e] = kept(e) ? w[e] * factor : 0, on the calling thread. Factor 1 leaves kept weights as they are, bit for bit.
void ApplyCandidateSelection(const uint64_t* kept, int64_t nnz, float factor, float* w);

namespace ref {
void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection, uint64_t* kept);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_
