#ifndef FILIGREE_WORKER_EXCHANGE_SUBTREE_H_
#define FILIGREE_WORKER_EXCHANGE_SUBTREE_H_

#include <cstdint>
#include <vector>

// The fixed binary tree along which the gradients of a step's logical shards are added: leaf 2i and leaf 2i + 1, then
// pairs of pairs and so on; what is left at the end is added from the right. A complete subtree is a run of 2^n leaves
// that begins at a multiple of its size; whoever has all of its leaves can form its sum.

namespace filigree::exchange {

struct Subtree {
  int64_t first = 0;   // leaf
  int64_t leaves = 0;  // a power of two

  // Do `this` and the one right of it together make the next larger subtree?
  bool IsLeftSiblingOf(const Subtree& right) const {
    return leaves == right.leaves && first + leaves == right.first && first % (2 * leaves) == 0;
  }
};

// The largest complete subtrees that the leaves begin <= i < end make up, in order.
inline std::vector<Subtree> SubtreesOf(int64_t begin, int64_t end) {
  std::vector<Subtree> subtrees;
  while (begin < end) {
    int64_t leaves = 1;
    while (begin % (2 * leaves) == 0 && begin + 2 * leaves <= end) leaves *= 2;
    subtrees.push_back({begin, leaves});
    begin += leaves;
  }
  return subtrees;
}

// Adds what stands in leaf order on `stack` together as far as the tree goes: the last two while they are siblings, or,
// at the end of all leaves (`all`), always. `add(below, top)` adds top to below. Elements have a member `subtree`.
template <typename Stack, typename Add>
void Collapse(Stack& stack, bool all, Add add) {
  while (stack.size() > 1) {
    auto& top = stack.back();
    auto& below = stack[stack.size() - 2];
    if (!all && !below.subtree.IsLeftSiblingOf(top.subtree)) return;
    add(below, top);
    below.subtree.leaves += top.subtree.leaves;
    stack.pop_back();
  }
}

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_SUBTREE_H_
