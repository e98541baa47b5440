#ifndef FILIGREE_WORKER_EXCHANGE_NUMBER_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_NUMBER_SUM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/subtree.h"

// Sums over data-parallel ranks of numbers that every logical shard has, losses and evidence, along the tree of shards
// (subtree.h): every rank brings those of its own maximal subtrees, and all get the whole sum, with the bits that one
// rank would have got.
//
// Bytes          up to kFewNumbers go to everybody, 8 (P - 1) a number and subtree; more of them the way of gradients
//                (tree_sum.h)
// Threads        one caller. Errors: those of the communicator.

namespace filigree::exchange {

class NumberSum {
 public:
  // Borrows it. leaves: the logical shards of a step, cut among the ranks by parallel::LeavesOf.
  NumberSum(comm::Communicator& data, int64_t leaves);

  static constexpr int64_t kFewNumbers = 512;
  struct Numbers {
    Subtree subtree;
    std::vector<double> values;
  };
  // nodes: of this rank's subtrees, in order; as many numbers in all of them, and on every rank. Returns the whole sum.
  absl::StatusOr<std::vector<double>> SumNumbers(const std::vector<Numbers>& nodes);

 private:
  absl::StatusOr<std::vector<double>> GatherNumbers(const std::vector<Numbers>& nodes);
  absl::StatusOr<std::vector<double>> SendSlices(const std::vector<Numbers>& nodes, const std::vector<int64_t>& sizes);
  std::vector<double> AddNumbers(const std::vector<double>& all, int64_t width) const;

  comm::Communicator& data_;
  std::vector<std::vector<Subtree>> subtrees_;  // of every rank
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_NUMBER_SUM_H_
