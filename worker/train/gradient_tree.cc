#include "worker/train/gradient_tree.h"

#include <algorithm>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"

namespace filigree::train {

// An arena of an earlier layout serves on as long as it is not too small, nor much too large.
void GradientTree::Begin() {
  stack_.clear();
  const int64_t floats = layout_->floats();
  if (!arenas_.empty() && (arenas_[0]->size() < floats || arenas_[0]->size() > 2 * floats)) arenas_.clear();
}

GradientTree::Leaf GradientTree::NextLeaf() {
  add_ = !stack_.empty() && stack_.back().leaves == 1;
  if (add_) return {arenas_[stack_.back().arena].get(), model::Network::Write::kAdd};
  const size_t arena = stack_.size();
  if (arena == arenas_.size()) arenas_.push_back(std::make_unique<model::Arena>(layout_));
  return {arenas_[arena].get(), model::Network::Write::kOverwrite};
}

void GradientTree::Merge(double loss) {
  if (add_) {
    stack_.back().leaves = 2;
    stack_.back().loss += loss;
  } else {
    stack_.push_back({1, loss, stack_.size()});
  }
  while (stack_.size() > 1 && stack_[stack_.size() - 2].leaves == stack_.back().leaves && stack_.back().leaves > 1) {
    AddTop();
  }
}

model::Arena& GradientTree::Finish() {
  CHECK(!stack_.empty(), "no leaf");
  while (stack_.size() > 1) AddTop();
  return *arenas_[stack_.front().arena];
}

// The top of the stack is added to the node below it.
void GradientTree::AddTop() {
  constexpr int64_t kBlock = 1 << 16;
  const Node top = stack_.back();
  stack_.pop_back();
  Node& below = stack_.back();
  const float* from = arenas_[top.arena]->data();
  float* to = arenas_[below.arena]->data();
  const int64_t size = layout_->floats();
  pool_.Run((size + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t begin = block * kBlock;
    kernels::AddInPlace(from + begin, std::min(kBlock, size - begin), to + begin);
  });
  below.leaves += top.leaves;
  below.loss += top.loss;
}

size_t GradientTree::bytes() const {
  size_t floats = 0;
  for (const auto& arena : arenas_) floats += static_cast<size_t>(arena->size());
  return floats * sizeof(float);
}

}  // namespace filigree::train
