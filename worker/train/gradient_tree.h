#ifndef FILIGREE_WORKER_TRAIN_GRADIENT_TREE_H_
#define FILIGREE_WORKER_TRAIN_GRADIENT_TREE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/model/arena.h"
#include "worker/model/network.h"

// The fixed summation tree of logical shards: leaf 2i and leaf 2i + 1 are added, then pairs of pairs and so on; what is
// left at the end is added from the right. So the sum of n shards has the same bits however many ranks or threads
// computed them.
//
// Memory: floor(log2(n + 1)) arenas, since leaf 2i + 1 is added to leaf 2i where it stands.

namespace filigree::train {

class GradientTree {
 public:
  // Gradients are of this layout, as it is in every step. Borrows the pool.
  GradientTree(std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool)
      : layout_(std::move(layout)), pool_(pool) {}

  // Where the next leaf goes. Call Begin before the first leaf of a step, then Leaf and Merge in turn.
  struct Leaf {
    model::Arena* gradient = nullptr;
    model::Network::Write write = model::Network::Write::kOverwrite;
  };
  void Begin();
  Leaf NextLeaf();
  // The leaf's gradient has been written, `loss` is its part of a sum that goes along the same tree.
  void Merge(double loss);

  // After the last leaf: the whole gradient (valid until Begin) and the sum of losses.
  model::Arena& Finish();
  double loss() const { return stack_.front().loss; }

  size_t bytes() const;

 private:
  struct Node {
    int64_t leaves = 0;
    double loss = 0;
    size_t arena = 0;
  };
  void AddTop();

  std::shared_ptr<const model::Layout> layout_;
  kernels::ThreadPool& pool_;
  std::vector<std::unique_ptr<model::Arena>> arenas_;
  std::vector<Node> stack_;  // complete subtrees, sizes descending; the last may be a leaf's left half
  bool add_ = false;         // the leaf in progress is added to the top of the stack
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_GRADIENT_TREE_H_
