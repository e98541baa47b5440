#ifndef FILIGREE_KERNELS_CANDIDATE_TOPK_POOR_UNITS_H_
#define FILIGREE_KERNELS_CANDIDATE_TOPK_POOR_UNITS_H_

#include <cstdint>

#include "kernels/candidate_topk/candidate_topk.h"

namespace filigree::kernels {

// How many entries step 1 keeps: the sum over units of min(min_alive, candidates of the unit).
int64_t MinimumOf(const PatternView& pattern, const CandidateSelection& selection);

// kept holds the largest entries of the matrix, above some threshold. Units of which fewer than min_alive are among
// them get their largest others. Returns how many were added.
int64_t FillPoorUnits(const PatternView& pattern, const float* w, const CandidateSelection& selection, uint64_t* kept);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATE_TOPK_POOR_UNITS_H_
