#ifndef FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_
#define FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_

#include <cstdint>
#include <memory>

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

// The one read of the weights that a selection with a close guess needs, cut into pieces: for whoever writes them and
// has them in cache then. SelectCandidates reads no more after it than poor units and a wrong guess ask for.
class CandidateScan {
 public:
  // Before the weights of nnz candidates are written. guess: what SelectCandidates will be given as `threshold`; where
  // it is none to go by, Read does nothing. kept: the bitmap that SelectCandidates will be given, borrowed.
  void Begin(int64_t nnz, const WeightThreshold& guess, uint64_t* kept);
  // Entries [begin, begin + size) of w have their weights; begin a multiple of 64, every entry once. Pieces may be read
  // by several threads at once.
  void Read(const float* w, int64_t begin, int64_t size);
  // Forgets what was read.
  void End() { *this = CandidateScan(); }

 private:
  friend struct ScanAccess;

  struct Shared;  // among threads
  struct Deleter {
    void operator()(Shared* shared) const;
  };
  int64_t nnz_ = 0;
  int32_t above_ = 0;
  uint16_t below_ = 0;
  uint64_t* kept_ = nullptr;
  std::unique_ptr<Shared, Deleter> shared_;  // null: there is no scan
};

// w             one float a candidate.
// threshold     in: the last step's, a guess (membership may have changed since; any content gives the same mask); out:
//               this one's. `value` is what step 2 kept least of, 0 if it kept none or everything. May be null.
// kept          bitmap over the entries, pattern.words() words, all written, unused bits 0.
// scan          of these very weights, with this guess and this bitmap; null or incomplete: they are read here.
// Threads       runs on the calling thread; several matrices may be selected at once.
// Determinism   bitwise, whatever the guess.
// Cost          with a close guess: one read of w; for columns also one of the indices.
void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection,
                      WeightThreshold* threshold, uint64_t* kept, const CandidateScan* scan = nullptr);

// w[e] = kept(e) ? w[e] * factor : 0, on the calling thread. Factor 1 leaves kept weights as they are, bit for bit.
void ApplyCandidateSelection(const uint64_t* kept, int64_t nnz, float factor, float* w);

namespace ref {
void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection, uint64_t* kept);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATE_TOPK_CANDIDATE_TOPK_H_
