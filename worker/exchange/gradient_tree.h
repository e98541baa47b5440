#ifndef FILIGREE_WORKER_EXCHANGE_GRADIENT_TREE_H_
#define FILIGREE_WORKER_EXCHANGE_GRADIENT_TREE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/exchange/subtree.h"
#include "worker/model/arena.h"
#include "worker/model/network.h"

// The sums of one rank's logical shards along the fixed tree (subtree.h), as far as its own leaves go: so the sum of
// all shards has the same bits however many ranks or threads computed them.
//
// Memory: an arena a subtree that stands at once, at most floor(log2(n + 1)) of them for n leaves that begin at 0,
// since leaf 2i + 1 is added to leaf 2i where it stands.

namespace filigree::exchange {

class GradientTree {
 public:
  // Gradients are of this layout, as it is in every step. Borrows the pool.
  GradientTree(std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool)
      : layout_(std::move(layout)), pool_(pool) {}

  // Where the next leaf goes. Call Begin before the first leaf of a step, then NextLeaf and Merge in turn.
  struct Leaf {
    model::Arena* gradient = nullptr;
    model::Network::Write write = model::Network::Write::kOverwrite;
  };
  void Begin(int64_t first_leaf = 0);
  Leaf NextLeaf();
  // Of the leaf in progress the gradients of these tensors are written, others may not be yet: adds them as Merge will,
  // which then leaves them alone. Their sums stand in NodesAfterLeaf().
  void MergeTensors(const std::vector<int>& tensors);
  // The leaf's gradient has been written, `loss` is its part of a sum that goes along the same tree.
  void Merge(double loss);

  // The complete subtrees that the leaves so far make up, in order. Valid until the next call.
  struct Node {
    Subtree subtree;
    double loss = 0;
    model::Arena* gradient = nullptr;
  };
  const std::vector<Node>& nodes() const { return stack_; }
  // Those that will be there after the leaf in progress; without its loss. Its arena is theirs already.
  std::vector<Node> NodesAfterLeaf() const;

  // After the last leaf of all, on the only rank: adds up what is left; one node remains.
  void Finish();
  double loss() const { return stack_.front().loss; }
  model::Arena& gradient() { return *stack_.front().gradient; }

  const std::shared_ptr<const model::Layout>& layout() const { return layout_; }
  size_t bytes() const;
  // How many of the arenas a step of the leaves first <= i < end makes.
  static int64_t ArenasOf(int64_t first, int64_t end);

 private:
  // An arena that is added to another.
  struct Addition {
    model::Arena* to;
    const model::Arena* from;
  };
  std::vector<Node> Grown(double loss, std::vector<Addition>& additions) const;
  void Add(const Addition& addition, int64_t begin, int64_t size);

  std::shared_ptr<const model::Layout> layout_;
  kernels::ThreadPool& pool_;
  std::vector<std::unique_ptr<model::Arena>> arenas_;
  std::vector<Node> stack_;
  int64_t next_leaf_ = 0;
  bool add_ = false;          // the leaf in progress is added to the top of the stack, its sibling
  std::vector<bool> merged_;  // of the tensors: those of the leaf in progress that are added already; empty: none
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_GRADIENT_TREE_H_
