#ifndef FILIGREE_WORKER_EXCHANGE_BATCH_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_BATCH_SUM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/alternatives.h"
#include "worker/exchange/bigram_exchange.h"
#include "worker/exchange/buckets.h"
#include "worker/exchange/gradient_tree.h"
#include "worker/exchange/number_sum.h"
#include "worker/exchange/residual.h"
#include "worker/exchange/rounded_sum.h"
#include "worker/exchange/tree_sum.h"
#include "worker/model/registry.h"

// How the gradients of a step's logical shards become one sum on all data-parallel ranks.
//
//   method    wire   values of all tensors but the bigram table   the bigram table
//   tree      fp32   the tree of shards (tree_sum.h)              touched rows along the tree (bigram_exchange.h)
//   tree      bf16   rounded (rounded_sum.h)                      its largest entries, bf16 (bigram_share of them)
//   tree      both   tensors with an owner: he alone gets the     as above
//                    sum
//   dense     fp32   all-reduce                                   with the others
//   top-k     both   the largest entries of all (topk_share), each rank's own
//   balanced  both   the same, of the sum
//
// top-k and balanced choose among all entries that this rank has: ranks that share a model would choose differently
// among those that they all have, so these two are for whole models.
//
// Only tree over fp32 gives the bits of one rank alone; all others are a function of the grid and of what every rank
// holds back.
//
// Over tree the tensors go in buckets (buckets.h), each as soon as its gradients are there: bits and bytes do not
// depend on how many buckets there are. The other methods need the whole gradient.

namespace filigree::exchange {

struct SumOptions {
  enum class Method { kTree, kDense, kTopK, kBalancedTopK };
  Method method = Method::kTree;
  WireValue wire = WireValue::kFloat32;
  double bigram_share = 1;  // of the table's entries that travel, tree over bf16; 1: the table goes with the others
  double topk_share = 1;    // of all entries, top-k and balanced
  // Tree alone. Of every tensor the one rank that gets its sum, -1: all get it; empty: all get everything.
  std::vector<int> owners = {};
  // Tree alone. Gradients go in buckets of at least so many values, on the thread that calls for them; 0: all at once,
  // but for the table, with the threads of the pool.
  int64_t bucket_values = 0;

  // May buckets go before the whole gradient is there?
  bool overlaps() const { return method == Method::kTree && bucket_values > 0; }
  // Does a sum leave something for later steps?
  bool holds_back() const {
    if (method == Method::kTree) return wire == WireValue::kBf16;
    return method != Method::kDense;
  }
};

// How many of n entries a share of them is: at least one.
int64_t EntriesOfShare(double share, int64_t n);

// From so many ranks on lists of the table's largest entries from each to all cost more than the balanced way.
inline bool BalancesTheTable(int ranks) { return ranks >= 4; }

class BatchSum {
 public:
  // Borrows all. leaves: the logical shards of a step; registry, layout: of the gradients on this rank.
  BatchSum(comm::Communicator& data, int64_t leaves, const SumOptions& options, const model::Registry& registry,
           std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool);

  // nodes: of this rank's leaves (GradientTree), whose arenas are overwritten; the sum stands in the first one
  // afterwards, where tensors that others own are unspecified. Collective. Errors: those of the communicator;
  // InvalidArgument where bytes that arrive do not fit.
  absl::Status Sum(const std::vector<GradientTree::Node>& nodes);

  // The same in parts: Begin, then SumBucket of every one of buckets(), in their order. Of the nodes' gradients each
  // reads and writes those of its tensors alone, which are there by then. What each needs beside the nodes is this
  // object's: calls may come from several threads, one after another.
  void Begin(std::vector<GradientTree::Node> nodes);
  const std::vector<Bucket>& buckets() const { return buckets_; }
  absl::Status SumBucket(size_t bucket);

  // The last sum changes nothing after all: what it had sent is held back again.
  void Undo();

  // Of losses and evidence: always along the tree.
  NumberSum& numbers() { return numbers_; }

  // Null: this rank holds nothing back, ever.
  Residual* residual() { return residual_.get(); }

 private:
  bool owned() const { return !options_.owners.empty(); }
  int OwnerOf(int tensor) const { return owned() ? options_.owners[tensor] : -1; }
  std::vector<TreeSum::Run> RunsOf(const Bucket& bucket) const;
  std::vector<int64_t> ShareTotals() const;
  absl::Status SumByTree(size_t bucket);
  absl::Status SumRounded(const Bucket& bucket);
  absl::Status SumLargest();
  absl::Status SumBigram();
  void AddOwnNodes(int64_t begin, int64_t size);

  comm::Communicator& data_;
  const SumOptions options_;
  const std::shared_ptr<const model::Layout> layout_;
  const std::vector<std::vector<int>> stages_;         // of backward
  const int bigram_index_;                             // -1: no table, or it goes with the others
  const std::unique_ptr<kernels::ThreadPool> beside_;  // of buckets: the others' threads are in backward
  kernels::ThreadPool& pool_;                          // of sums
  NumberSum numbers_;
  std::vector<GradientTree::Node> nodes_;  // of this step, as are
  std::vector<Bucket> buckets_;
  std::vector<std::vector<int64_t>> shares_;  // of every bucket (tree_sum.h)
  std::unique_ptr<BigramExchange> bigram_;
  std::unique_ptr<TreeSum> tree_;
  std::unique_ptr<RoundedSum> rounded_;
  std::unique_ptr<GradientSum> largest_;
  int64_t largest_floats_ = 0;  // that it was made for
  std::unique_ptr<Residual> residual_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_BATCH_SUM_H_
