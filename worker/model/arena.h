#ifndef FILIGREE_WORKER_MODEL_ARENA_H_
#define FILIGREE_WORKER_MODEL_ARENA_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "worker/model/layout.h"
#include "worker/model/registry.h"

namespace filigree::model {

// One value per stored entry of every tensor: weights, gradients or moments. Zero at first.
class Arena {
 public:
  // Every tensor whole.
  explicit Arena(const Registry& registry) : Arena(std::make_shared<Layout>(registry.numels())) {}
  // The layout may change later; then the arena must be moved (below) before it is used.
  explicit Arena(std::shared_ptr<const Layout> layout)
      : layout_(std::move(layout)), data_(static_cast<size_t>(layout_->floats())) {}

  float* tensor(const TensorInfo& info) { return data_.data() + layout_->offset(info.index); }
  const float* tensor(const TensorInfo& info) const { return data_.data() + layout_->offset(info.index); }
  float* data() { return data_.data(); }
  const float* data() const { return data_.data(); }
  int64_t size() const { return static_cast<int64_t>(data_.size()); }
  const Layout& layout() const { return *layout_; }
  const std::shared_ptr<const Layout>& shared_layout() const { return layout_; }
  // From here on memory is taken in pages of the system's smallest size, not in huge ones: for whoever leaves tensors
  // of it untouched between others, which then take none. To be said before anything is written.
  void UseSmallPages();

 private:
  friend void Move(const Layout& before, const struct Sources& sources, kernels::ThreadPool& pool, Arena& arena);
  friend void KeepOnly(const std::vector<bool>& tensors, Arena& arena);

  kernels::Buffer<float> NewBuffer(size_t size) const;

  std::shared_ptr<const Layout> layout_;
  kernels::Buffer<float> data_;
  bool small_pages_ = false;
};

// Where the values of a changed layout come from: per tensor an array with one index into the tensor's values before
// the change for each value after it, kNoSource: 0. Null: the tensor did not change.
inline constexpr uint32_t kNoSource = UINT32_MAX;
struct Sources {
  std::vector<const uint32_t*> of;  // one a tensor
  // One a tensor: false: nobody needs its values, they are unspecified afterwards. Empty: all are needed.
  std::vector<bool> needed = {};
};

// Of every value of a new candidate set, where it stood before; before: null: the tensor was whole.
kernels::Buffer<uint32_t> SourcesOf(const kernels::PatternView* before, const kernels::PatternView& after);

// Brings the values of an arena from the layout `before` to its own layout as it is now. In place where every tensor
// moves towards the front, as it does when sets shrink or keep their size.
void Move(const Layout& before, const Sources& sources, kernels::ThreadPool& pool, Arena& arena);

// Only these tensors, one entry each, keep their values; the memory of the others is given back, they read 0. Takes
// small pages from here on.
void KeepOnly(const std::vector<bool>& tensors, Arena& arena);

// Zeroes the floats between tensors, which Move and earlier layouts leave as they were.
void ClearPadding(Arena& arena);

// Draws the initial weights of every tensor that is stored whole, from a stream of its own name, so that they depend on
// the seed, the name and the index (in the whole tensor, where ranks share it) alone. Normal draws are rounded to fp32.
// (Others: worker/model/initial_draw.h.)
void InitialiseWeights(const Registry& registry, uint64_t seed, kernels::ThreadPool& pool, Arena& weights);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_ARENA_H_
