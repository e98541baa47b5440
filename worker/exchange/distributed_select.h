#ifndef FILIGREE_WORKER_EXCHANGE_DISTRIBUTED_SELECT_H_
#define FILIGREE_WORKER_EXCHANGE_DISTRIBUTED_SELECT_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/matrix_part.h"

// The masks of matrices whose parts lie with several ranks: exactly what kernels/weight_topk selects from whole ones.
//
//   1. every unit keeps its min(min_alive, unit length) largest |w|: units lie whole with one rank, no message
//   2. the others go to the largest |w| among the rest: their threshold is found by rounds of histograms of the bits
//      of |w|, all matrices in one all-reduce (rank_search.h)
//   3. of those equal to the threshold the lowest global indices: found by the same search over their indices
//
//   scope matrix   a threshold for each matrix, k entries each (Gao et al. 2025)
//   scope global   one threshold for all, the sum of the k's entries together; ties: the earlier matrix, then the
//                  lower index
//
// Bytes          independent of the size of the matrices. To be all-reduced a matrix: cold 16 KB, warm (thresholds near
//                the last ones) 6 KB and less the steadier they are, down to 0.4; ties that do not all fit add up to
//                16. Step 1 is free; matrices that keep everything, or nothing beyond step 1, take no part.
// Determinism    bitwise, for any ranks, parts, threads and guesses.
// Cost           warm, about one read of this rank's parts (two of those with columns as units); cold about three.
// Threads        one caller; parallel over the pool.

namespace filigree::exchange {

enum class SelectScope { kMatrix, kGlobal };

class DistributedSelect {
 public:
  // Borrows both.
  DistributedSelect(comm::Communicator& ranks, SelectScope scope, kernels::ThreadPool& pool);
  ~DistributedSelect();

  // Collective. Errors: those of the communicator; FailedPrecondition where parts are held twice or by nobody (if it is
  // noticed: in their number). `kept` is then unspecified.
  absl::Status Select(std::span<const ShardedMatrix> matrices);

  // Of the last call: the smallest magnitude that step 2 kept, as kernels::WeightThreshold has it, and how many entries
  // of the whole matrix were kept (which scope global decides).
  float threshold(size_t matrix) const;
  int64_t kept(size_t matrix) const;

  // Thresholds are looked for near those of the call before if it had as many matrices. Every rank must have made the
  // same calls since it was constructed or forgot: where one begins anew, all forget.
  void Forget();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_DISTRIBUTED_SELECT_H_
