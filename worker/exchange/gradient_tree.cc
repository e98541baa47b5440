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
  merged_.clear();
  add_ = !stack_.empty() && stack_.back().subtree.IsLeftSiblingOf({next_leaf_, 1});
  if (add_) return {stack_.back().gradient, model::Network::Write::kAdd};
  const size_t arena = stack_.size();
  if (arena == arenas_.size()) arenas_.push_back(std::make_unique<model::Arena>(layout_));
  return {arenas_[arena].get(), model::Network::Write::kOverwrite};
}

// The stack with the leaf in progress on it, as far as the tree goes, and what that adds.
std::vector<GradientTree::Node> GradientTree::Grown(double loss, std::vector<Addition>& additions) const {
  std::vector<Node> stack = stack_;
  if (add_) {
    stack.back().subtree.leaves = 2;
    stack.back().loss += loss;
  } else {
    stack.push_back({{next_leaf_, 1}, loss, arenas_[stack.size()].get()});
  }
  Collapse(stack, /*all=*/false, [&](Node& below, const Node& top) {
    additions.push_back({below.gradient, top.gradient});
    below.loss += top.loss;
  });
  return stack;
}

std::vector<GradientTree::Node> GradientTree::NodesAfterLeaf() const {
  std::vector<Addition> additions;
  return Grown(0, additions);
}

void GradientTree::MergeTensors(const std::vector<int>& tensors) {
  std::vector<Addition> additions;
  Grown(0, additions);
  merged_.resize(layout_->size());
  for (const int tensor : tensors) {
    CHECK(!merged_[tensor], "tensor {} a second time", tensor);
    merged_[tensor] = true;
    for (const Addition& addition : additions) Add(addition, layout_->offset(tensor), layout_->stored(tensor));
  }
}

void GradientTree::Merge(double loss) {
  std::vector<Addition> additions;
  stack_ = Grown(loss, additions);
  ++next_leaf_;
  for (const Addition& addition : additions) {
    if (merged_.empty()) Add(addition, 0, layout_->floats());
    for (int tensor = 0; tensor < std::ssize(merged_); ++tensor) {
      if (!merged_[tensor]) Add(addition, layout_->offset(tensor), layout_->stored(tensor));
    }
  }
}

void GradientTree::Finish() {
  CHECK(!stack_.empty(), "no leaf");
  Collapse(stack_, /*all=*/true, [this](Node& below, const Node& top) {
    Add({below.gradient, top.gradient}, 0, layout_->floats());
    below.loss += top.loss;
  });
}

void GradientTree::Add(const Addition& addition, int64_t begin, int64_t size) {
  constexpr int64_t kBlock = 1 << 16;
  const float* from = addition.from->data() + begin;
  float* to = addition.to->data() + begin;
  pool_.Run((size + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t at = block * kBlock;
    kernels::AddInPlace(from + at, std::min(kBlock, size - at), to + at);
  });
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
