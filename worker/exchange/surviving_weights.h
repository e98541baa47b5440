#ifndef FILIGREE_WORKER_EXCHANGE_SURVIVING_WEIGHTS_H_
#define FILIGREE_WORKER_EXCHANGE_SURVIVING_WEIGHTS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/matrix_part.h"

// After the owners' updates and the mask: every rank gives the weights that survive in its parts, and all have all of
// them.
//
//   on the wire    of each matrix and rank: where they are, counted through the rank's parts one after another row by
//                  row, and what they are worth (kernels/gradcodec/coded_entries.h): a coded list or a bitmap,
//                  whichever is shorter, and 4 bytes a weight
//   afterwards     on every rank: survivors of all parts as their owners have them, everything else +0, and the bitmap
//                  over the whole matrix
//
// A kept weight that is 0 survives: masks arrive bit by bit.
//
// Bytes          a surviving weight about 4 + (log2(1 / density) + 1.5) / 8 to each other rank; 21 a matrix.
// Determinism    bits are copied.
// Threads        one caller; matrices in parallel over the pool.

namespace filigree::exchange {

struct SurvivingMatrix {
  int64_t rows = 0, cols = 0;  // of the whole matrix
  // [rank]: its parts, the same on every rank but for where they lie: w and stride are this rank's storage of them.
  // They do not overlap.
  std::vector<std::vector<MatrixPart>> parts;
  uint64_t* kept = nullptr;  // in: bits of this rank's parts; out: of all. Over the whole matrix
};

// Collective. Errors: those of the communicator; InvalidArgument where bytes that arrive do not fit the parts. Weights
// of others' parts and `kept` are then unspecified.
absl::Status GatherSurvivingWeights(comm::Communicator& ranks, std::span<const SurvivingMatrix> matrices,
                                    kernels::ThreadPool& pool);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_SURVIVING_WEIGHTS_H_
