#include "worker/exchange/gradient_tree.h"

#include <algorithm>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"

namespace filigree::exchange {

// An arena of an earlier layout serves on as long as it is not too small, nor much too large.
void GradientTree::Begin(int64_t first_leaf) {
  stack_.clear();
  next_leaf_ = first_leaf;
  const int64_t floats = layout_->floats();
  if (!arenas_.empty() && (arenas_[0]->size() < floats || arenas_[0]->size() > 2 * floats)) arenas_.clear();
}

GradientTree::Leaf GradientTree::NextLeaf() {
  add_ = !stack_.empty() && stack_.back().subtree.IsLeftSiblingOf({next_leaf_, 1});
  if (add_) return {stack_.back().gradient, model::Network::Write::kAdd};
  const size_t arena = stack_.size();
  if (arena == arenas_.size()) arenas_.push_back(std::make_unique<model::Arena>(layout_));
  return {arenas_[arena].get(), model::Network::Write::kOverwrite};
}

void GradientTree::Merge(double loss) {
  if (add_) {
    stack_.back().subtree.leaves = 2;
    stack_.back().loss += loss;
  } else {
    stack_.push_back({{next_leaf_, 1}, loss, arenas_[stack_.size()].get()});
  }
  ++next_leaf_;
  Collapse(stack_, /*all=*/false, [this](Node& below, const Node& top) { Add(below, top); });
}

void GradientTree::Finish() {
  CHECK(!stack_.empty(), "no leaf");
  Collapse(stack_, /*all=*/true, [this](Node& below, const Node& top) { Add(below, top); });
}

void GradientTree::Add(Node& below, const Node& top) {
  constexpr int64_t kBlock = 1 << 16;
  const float* from = top.gradient->data();
  float* to = below.gradient->data();
  const int64_t size = layout_->floats();
  pool_.Run((size + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t begin = block * kBlock;
    kernels::AddInPlace(from + begin, std::min(kBlock, size - begin), to + begin);
  });
  below.loss += top.loss;
}

int64_t GradientTree::ArenasOf(int64_t first, int64_t end) {
  struct Element {
    Subtree subtree;
  };
  std::vector<Element> stack;
  size_t most = 0;
  for (int64_t leaf = first; leaf < end; ++leaf) {
    const bool add = !stack.empty() && stack.back().subtree.IsLeftSiblingOf({leaf, 1});
    stack.push_back({{leaf, 1}});
    most = std::max(most, stack.size() - (add ? 1 : 0));  // a leaf that is added to its sibling has no arena
    Collapse(stack, /*all=*/false, [](const Element&, const Element&) {});
  }
  return static_cast<int64_t>(most);
}

size_t GradientTree::bytes() const {
  size_t floats = 0;
  for (const auto& arena : arenas_) floats += static_cast<size_t>(arena->size());
  return floats * sizeof(float);
}

}  // namespace filigree::exchange
