#ifndef FILIGREE_WORKER_MODEL_LAYOUT_H_
#define FILIGREE_WORKER_MODEL_LAYOUT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/csr/pattern.h"

// Where the values of every tensor lie in an arena, and which values there are: all entries of a tensor, or those of
// its candidate set (active regime), in ascending order of global index either way. Weights, moments and gradients of a
// run share one layout, which changes when candidates do.

namespace filigree::model {

class Layout {
 public:
  // Every tensor whole. numel: of the tensors of a registry, in its order.
  explicit Layout(const std::vector<int64_t>& numel);

  int size() const { return static_cast<int>(slots_.size()); }
  int64_t numel(int tensor) const { return slots_[tensor].numel; }
  // Values that exist, and where they begin: a multiple of 16 floats.
  int64_t stored(int tensor) const { return slots_[tensor].stored; }
  int64_t offset(int tensor) const { return slots_[tensor].offset; }
  // The candidate set, null: the tensor is whole. Valid until it changes.
  const kernels::PatternView* candidates(int tensor) const {
    return slots_[tensor].pattern == nullptr ? nullptr : &slots_[tensor].view;
  }
  bool has_candidates() const;

  int64_t floats() const { return floats_; }                            // of an arena, with padding between tensors
  int64_t stored_elements() const { return elements_; }                 // without
  int64_t version(int tensor) const { return slots_[tensor].version; }  // differs after every change of its candidates

  // Gives tensors new candidate sets (the others keep theirs). Arenas are then out of date: model::Move.
  struct Change {
    int tensor;
    kernels::Pattern pattern;
  };
  void Apply(std::vector<Change> changes);

 private:
  void Place();

  struct Slot {
    int64_t numel = 0, stored = 0, offset = 0, version = 0;
    std::shared_ptr<const kernels::Pattern> pattern;  // shared with copies of the layout
    kernels::PatternView view;
  };
  std::vector<Slot> slots_;
  int64_t floats_ = 0, elements_ = 0, changes_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_LAYOUT_H_
