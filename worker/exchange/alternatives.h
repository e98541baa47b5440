#ifndef FILIGREE_WORKER_EXCHANGE_ALTERNATIVES_H_
#define FILIGREE_WORKER_EXCHANGE_ALTERNATIVES_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"

// How others sum gradients over data-parallel ranks: to compare with, and for a table that has no candidates.
//
//   dense     all-reduce of fp32. Bytes a rank: 2 (P - 1) / P * 4 n
//   top-k     Deep gradient compression (Lin et al. 2018): every rank sends the k largest of its gradient and what it
//             has held back, the rest stays in its residual; all are added. Bytes a rank: (P - 1) k entries
//   balanced  Ok-Topk (Li and Hoefler 2022): those k entries go to the owners of regions of positions, cut so that all
//             owners get about as many; owners add them; of all sums the k largest (exactly; ties: the lower position)
//             go to everybody; who contributed to others keeps them in its residual. Bytes a rank: about
//             2 k (P - 1) / P entries, and the search for the k-th: some 5 KB to each other rank, twice that in bf16,
//             where many are equal
//
//   an entry  its value, 4 bytes or 2 (bf16), and log2(n / k) + 1.5 bits (kernels/gradcodec/index_list.h)
//
// What is lost   nothing: what has arrived, plus all ranks' residuals, is the sum of all gradients so far, up to the
//                rounding of fp32 additions; bf16's rounding is held back too.
// Determinism    the same bits on every rank; entries are added in the order of ranks, so a function of the grid.
// Threads        one caller; parallel over the pool.

namespace filigree::exchange {

enum class WireValue { kFloat32, kBf16 };

class GradientSum {
 public:
  virtual ~GradientSum() = default;

  // gradient: in: this rank's; out: the sum, as far as it has arrived. residual: what this rank holds back, as many
  // elements, 0 at first: part of the state of a run (dense: untouched, may be empty). Collective. Errors: those of the
  // communicator; InvalidArgument where bytes that arrive do not fit. Both are then unspecified.
  virtual absl::Status Sum(std::span<float> gradient, std::span<float> residual) = 0;
};

// Borrow the communicator and the pool. n < 2^32 - 1 elements, 0 <= k <= n; the same on every rank.
std::unique_ptr<GradientSum> DenseSum(comm::Communicator& data);
std::unique_ptr<GradientSum> TopKSum(comm::Communicator& data, int64_t n, int64_t k, WireValue wire,
                                     kernels::ThreadPool& pool);
std::unique_ptr<GradientSum> BalancedTopKSum(comm::Communicator& data, int64_t n, int64_t k, WireValue wire,
                                             kernels::ThreadPool& pool);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_ALTERNATIVES_H_
