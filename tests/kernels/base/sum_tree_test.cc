#include "kernels/base/sum_tree.h"

#include <gtest/gtest.h>

#include <string>

namespace filigree::kernels {
namespace {

// The tree of n groups as nested brackets.
std::string Tree(const std::vector<std::string>& leaves, const std::vector<int>& sizes) {
  std::vector<std::string> node(SumTree::MostNodes(1 << 20));
  const auto add = [&](int below, int top) { node[below] = "(" + node[below] + " " + node[top] + ")"; };
  SumTree tree;
  for (size_t i = 0; i < leaves.size(); ++i) {
    node[tree.depth()] = leaves[i];
    tree.Push(sizes[i], add);
  }
  tree.Finish(add);
  return node[0];
}

std::string Tree(int begin, int end) {
  std::vector<std::string> leaves;
  for (int i = begin; i < end; ++i) leaves.push_back(std::to_string(i));
  return Tree(leaves, std::vector<int>(leaves.size(), 1));
}

TEST(SumTree, AddsPairsThenPairsOfPairsThenWhatIsLeftFromTheRight) {
  EXPECT_EQ(Tree(0, 1), "0");
  EXPECT_EQ(Tree(0, 2), "(0 1)");
  EXPECT_EQ(Tree(0, 3), "((0 1) 2)");
  EXPECT_EQ(Tree(0, 4), "((0 1) (2 3))");
  EXPECT_EQ(Tree(0, 7), "(((0 1) (2 3)) ((4 5) 6))");
}

// Whoever forms contiguous runs of groups as whole subtrees gets the same tree.
TEST(SumTree, SubtreesOfRunsMakeTheSameTree) {
  for (int groups = 1; groups <= 24; ++groups) {
    for (int ranks = 1; ranks <= groups; ++ranks) {
      std::vector<std::string> nodes;
      std::vector<int> sizes;
      for (int r = 0; r < ranks; ++r) {
        int begin = groups * r / ranks;
        for (const int size : SubtreesOf(begin, groups * (r + 1) / ranks)) {
          nodes.push_back(Tree(begin, begin + size));
          sizes.push_back(size);
          begin += size;
        }
        EXPECT_EQ(begin, groups * (r + 1) / ranks);
      }
      EXPECT_EQ(Tree(nodes, sizes), Tree(0, groups)) << groups << " groups, " << ranks << " ranks";
    }
  }
}

TEST(SumTree, HalvesOfAPowerOfTwoAreOneSubtree) {
  EXPECT_EQ(SubtreesOf(0, 4), std::vector<int>({4}));
  EXPECT_EQ(SubtreesOf(4, 8), std::vector<int>({4}));
  EXPECT_EQ(SubtreesOf(3, 6), std::vector<int>({1, 2}));
  EXPECT_TRUE(SubtreesOf(3, 3).empty());
}

TEST(SumTree, MostNodesIsEnough) {
  for (int groups = 1; groups <= 200; ++groups) {
    SumTree tree;
    int most = 0;
    for (int i = 0; i < groups; ++i) {
      most = std::max(most, tree.depth() + 1);
      tree.Push(1, [](int, int) {});
    }
    EXPECT_LE(most, SumTree::MostNodes(groups));
  }
}

}  // namespace
}  // namespace filigree::kernels
