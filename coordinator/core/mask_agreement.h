#ifndef FILIGREE_COORDINATOR_CORE_MASK_AGREEMENT_H_
#define FILIGREE_COORDINATOR_CORE_MASK_AGREEMENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/core/messages.h"

// Whether the replicas of one generation agree on their weights, moments and masks, mask update by mask update.
//
// A rank reports, with update e, the digests of what update e left and, recomputed, of what update e - 1 had left.
// Replicas are the ranks of one tensor index.
//   contradiction  what a rank recomputed of e - 1 differs from what it said then, or it says two things of e: it is
//                  named at once, alone.
//   difference     two replicas say different things of e: when all replicas have spoken, those outside the strict
//                  majority are named, where there is one; else all of them, both of two.
// Moments that owners alone have are in no report: the ranks compare these among themselves.
// A rank may report an update again until it hears that all agreed. Reports of updates before the last are ignored.

namespace filigree::coordinator {

class MaskAgreement {
 public:
  MaskAgreement() = default;
  MaskAgreement(int32_t data, int32_t tensor) : tensor_(tensor), data_(data) {}

  struct Verdict {
    enum Kind { kPending, kAgreed, kDiffer } kind = kPending;
    bool first = false;          // agreed just now, by all replicas of all tensor indices
    std::vector<int32_t> ranks;  // named, ascending
    std::string text;            // what differs, without the names of workers
  };

  // `rank` must be on the grid.
  Verdict Report(int32_t rank, int64_t epoch, const Digests& before, const Digests& after);

 private:
  struct RankSaid {
    int64_t epoch = -1;
    Digests after;
    Digests previous;  // of epoch - 1; empty: not heard
  };

  std::string Contradiction(const RankSaid& said, int64_t epoch, const Digests& before, const Digests& after) const;
  Verdict Compare(int32_t tensor_index, int64_t epoch) const;
  bool AllAt(int64_t epoch) const;

  int32_t tensor_ = 1, data_ = 1;
  int64_t agreed_ = -1;  // last update all agreed on
  std::map<int32_t, RankSaid> said_;
};

// The first name on which they differ, as "weights is 12ab there and 34cd here"; empty: equal.
std::string DifferenceOf(const Digests& there, const Digests& here);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_MASK_AGREEMENT_H_
