#ifndef FILIGREE_WORKER_EXCHANGE_TREE_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_TREE_SUM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/gradient_tree.h"

// Sums of gradients over data-parallel ranks along the tree of logical shards (subtree.h): every rank brings the sums
// of its own maximal subtrees.
//
//   all-to-all     each owner gets its runs of every subtree; of all other runs, closed up, each rank gets a share
//   tree           each adds what it got in the order of the tree
//   all-gather     of the shares; owned sums go no further
//
// Bytes          a rank sends 2 (P - 1) / P * 4 a value without an owner where shares are even and every rank has one
//                subtree, a ring's amount; up to one more share a further subtree. Half of that where owners share
//                evenly.
// Determinism    the bits of one rank alone, however values are cut.
// Threads        one caller; packing and additions are shared among the pool.

namespace filigree::exchange {

class TreeSum {
 public:
  // Borrows both. leaves: the logical shards of a step, cut among the ranks by parallel::LeavesOf.
  TreeSum(comm::Communicator& data, int64_t leaves, kernels::ThreadPool& pool);

  // Floats [begin, begin + size) of every arena.
  struct Run {
    int64_t begin = 0, size = 0;
    int owner = -1;  // -1: the sum goes to all
  };
  // nodes: of this rank's leaves, whose arenas are overwritten in these runs and not looked at elsewhere. What this
  // rank gets stands in the first one's afterwards; runs of other owners are unspecified there. shares: how many floats
  // of those without an owner each rank adds, one after another; all of them together. The same runs and shares on
  // every rank. Collective. Errors: those of the communicator.
  absl::Status Sum(const std::vector<GradientTree::Node>& nodes, std::span<const Run> runs,
                   std::span<const int64_t> shares);

 private:
  // What one rank adds, in tasks of the pool: where it lies in an arena, and where among all that this rank adds.
  struct Piece {
    int rank = 0;
    int64_t begin = 0, size = 0, offset = 0;
  };
  // A subtree of any rank, as far as this one adds it: in an arena of its own, or as it was received.
  struct Part {
    Subtree subtree;
    float* arena = nullptr;
    float* received = nullptr;
  };
  void Cut(std::span<const Run> runs, std::span<const int64_t> shares);
  void Add(int rank, int64_t begin, int64_t size);
  absl::StatusOr<std::vector<Part>> GatherParts(const std::vector<GradientTree::Node>& nodes);
  absl::Status SendRound(const float* arena, const std::vector<int64_t>& receives, float* received);
  void AddParts(const std::vector<Part>& parts, float* out);
  absl::Status GatherShared(float* out);
  template <typename Wanted, typename F>
  void ForEach(Wanted wanted, F f);

  comm::Communicator& data_;
  kernels::ThreadPool& pool_;
  std::vector<std::vector<Subtree>> subtrees_;  // of every rank
  std::vector<Piece> pieces_;
  std::vector<int64_t> counts_;  // floats that each rank adds: first
  std::vector<int64_t> shared_;  // those that go to all
  kernels::Buffer<float> packed_, received_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_TREE_SUM_H_
