#ifndef FILIGREE_WORKER_EXCHANGE_GRADIENT_EXCHANGE_H_
#define FILIGREE_WORKER_EXCHANGE_GRADIENT_EXCHANGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/gradient_tree.h"

// Sums over data-parallel ranks, along the tree of logical shards (subtree.h): every rank brings the sums of its own
// maximal subtrees, and all get the whole sum, with the bits that one rank would have got.
//
//   all-to-all     rank r gets everybody's slice r of every subtree
//   tree           r adds them in the order of the tree
//   all-gather     r gives its slice of the whole to all
//
// Bytes a rank sends: 2 (P - 1) / P * 4 a stored value where every rank has one subtree, a ring's amount; up to one
// more slice a further subtree. Values travel in the order of the layout, which all ranks share: no indices.
//
// Threads: one caller; additions are shared among the pool. Errors: those of the communicator.

namespace filigree::exchange {

class GradientExchange {
 public:
  // Borrows both. leaves: the logical shards of a step, cut among the ranks by parallel::LeavesOf.
  GradientExchange(comm::Communicator& data, int64_t leaves, kernels::ThreadPool& pool);

  // Of every arena the floats [begin, end). nodes: of this rank's leaves, whose arenas are overwritten. The whole sum
  // stands in nodes.front()'s arena afterwards.
  absl::Status SumGradients(const std::vector<GradientTree::Node>& nodes, int64_t begin, int64_t end);

  // The same for numbers a subtree, as many in all of them: losses, evidence. Returns the whole sum. Up to kFewNumbers
  // go to everybody, 8 (P - 1) bytes a number and subtree; more of them the way of gradients.
  static constexpr int64_t kFewNumbers = 512;
  struct Numbers {
    Subtree subtree;
    std::vector<double> values;
  };
  absl::StatusOr<std::vector<double>> SumNumbers(const std::vector<Numbers>& nodes);

 private:
  // A subtree's values of one slice.
  struct Part {
    Subtree subtree;
    float* values = nullptr;
  };
  absl::StatusOr<std::vector<Part>> GatherSlice(const std::vector<GradientTree::Node>& nodes, int64_t begin,
                                                int64_t floats);
  absl::StatusOr<std::vector<double>> GatherNumbers(const std::vector<Numbers>& nodes);
  absl::StatusOr<std::vector<double>> SendSlices(const std::vector<Numbers>& nodes, const std::vector<int64_t>& sizes);
  std::vector<double> AddNumbers(const std::vector<double>& all, int64_t width) const;
  void AddSlice(const std::vector<Part>& parts, int64_t size);

  comm::Communicator& data_;
  kernels::ThreadPool& pool_;
  std::vector<std::vector<Subtree>> subtrees_;  // of every rank
  kernels::Buffer<float> received_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_GRADIENT_EXCHANGE_H_
