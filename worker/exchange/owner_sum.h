#ifndef FILIGREE_WORKER_EXCHANGE_OWNER_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_OWNER_SUM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/gradient_tree.h"

// Sums of gradients along the tree of logical shards (gradient_exchange.h) where some have an owner, who alone needs
// them.
//
//   all-to-all     every owner gets its runs of every subtree; of all other runs, closed up, rank r gets slice r
//   tree           each adds what it got in the order of the tree
//   all-gather     of the slices; owned sums go no further
//
// Bytes          a rank sends 4 (P - 1) / P a value where owners share evenly and every rank has one subtree; twice
//                that of runs without an owner.
// Determinism    the bits of one rank alone.
// Threads        one caller; packing and additions are shared among the pool.

namespace filigree::exchange {

class OwnerSum {
 public:
  // Borrows both. leaves: the logical shards of a step, cut among the ranks by parallel::LeavesOf.
  OwnerSum(comm::Communicator& data, int64_t leaves, kernels::ThreadPool& pool);

  // Floats [begin, begin + size) of every arena.
  struct Run {
    int64_t begin = 0, size = 0;
    int owner = -1;  // -1: the sum goes to all
  };
  // nodes: of this rank's leaves, whose arenas are overwritten. What this rank gets stands in the first one's
  // afterwards; runs of other owners are unspecified there. The same runs on every rank. Collective. Errors: those of
  // the communicator.
  absl::Status Sum(const std::vector<GradientTree::Node>& nodes, std::span<const Run> runs);

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
  void Cut(std::span<const Run> runs);
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

#endif  // FILIGREE_WORKER_EXCHANGE_OWNER_SUM_H_
