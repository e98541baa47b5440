#ifndef FILIGREE_WORKER_EXCHANGE_CANDIDATE_SETS_H_
#define FILIGREE_WORKER_EXCHANGE_CANDIDATE_SETS_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "worker/comm/communicator.h"

// Active regime, after a refresh by ranks that each know the moments of some matrices: every owner gives the new
// candidates of its matrices, and all have all of them.
//
//   on the wire    of each matrix its positions by global index, ascending (kernels/gradcodec/index_list.h): a coded
//                  list or a bitmap, whichever is shorter
//
// Bytes          a candidate about (log2(1 / density of the set) + 1.5) / 8 to each other rank; 8 and a byte a matrix.
// Determinism    positions are copied.
// Threads        one caller; matrices in parallel over the pool.

namespace filigree::exchange {

// The same on every rank but for `pattern`.
struct OwnedSet {
  int owner = 0;
  int rows = 0, cols = 0;               // rows * cols <= 2^32
  int64_t entries = 0;                  // of the new set
  kernels::Pattern* pattern = nullptr;  // in: the owner's; out: everybody's
};

// Collective. Errors: those of the communicator; InvalidArgument where bytes that arrive are no set of that size. The
// patterns of others' matrices are then unspecified.
absl::Status GatherCandidateSets(comm::Communicator& ranks, std::span<const OwnedSet> sets, kernels::ThreadPool& pool);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_CANDIDATE_SETS_H_
