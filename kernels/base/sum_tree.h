#ifndef FILIGREE_KERNELS_BASE_SUM_TREE_H_
#define FILIGREE_KERNELS_BASE_SUM_TREE_H_

#include <vector>

// The fixed binary tree along which the sums of n groups are added: group 2i and group 2i + 1, then pairs of pairs and
// so on; what is left at the end is added from the right. So the sum has the same bits whoever formed which groups, as
// long as whole subtrees are formed by one and then added by this rule.

namespace filigree::kernels {

// Keeps count while somebody forms the groups' sums in ascending order: node depth() is where the next one goes, and
// add(below, top) adds node `top` to node `below`, one under it. At the end node 0 holds the whole sum.
class SumTree {
 public:
  int depth() const { return depth_; }

  // Node depth() has been formed: a subtree of so many groups. A whole subtree of several groups (SubtreesOf) may stand
  // for them.
  template <typename Add>
  void Push(int groups, Add add) {
    groups_[depth_++] = groups;
    while (depth_ > 1 && groups_[depth_ - 2] == groups_[depth_ - 1]) Merge(add);
  }
  template <typename Add>
  void Finish(Add add) {
    while (depth_ > 1) Merge(add);
  }

  // Nodes there can be at once, of at most `groups` groups.
  static int MostNodes(int groups) {
    int nodes = 1;
    for (; groups > 0; groups /= 2) ++nodes;
    return nodes;
  }

 private:
  template <typename Add>
  void Merge(Add add) {
    add(depth_ - 2, depth_ - 1);
    groups_[depth_ - 2] += groups_[depth_ - 1];
    --depth_;
  }

  int groups_[33] = {};
  int depth_ = 0;
};

// The groups [begin, end) as the fewest whole subtrees, ascending: how many groups each has.
inline std::vector<int> SubtreesOf(int begin, int end) {
  std::vector<int> sizes;
  while (begin < end) {
    int size = 1;
    while (begin % (2 * size) == 0 && begin + 2 * size <= end) size *= 2;
    sizes.push_back(size);
    begin += size;
  }
  return sizes;
}

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_SUM_TREE_H_
