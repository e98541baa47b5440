#include "worker/model/layout.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace filigree::model {
namespace {

constexpr int64_t kAlignment = 16;  // floats: one cache line

}  // namespace

Layout::Layout(const std::vector<int64_t>& numel) {
  slots_.reserve(numel.size());
  for (const int64_t n : numel) {
    Slot slot;
    slot.numel = slot.stored = n;
    slots_.push_back(std::move(slot));
  }
  Place();
}

bool Layout::has_candidates() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.pattern != nullptr; });
}

void Layout::Apply(std::vector<Change> changes) {
  ++changes_;
  for (Change& change : changes) {
    Slot& slot = slots_[change.tensor];
    CHECK(int64_t{change.pattern.rows()} * change.pattern.cols() == slot.numel, "tensor {}: {} x {} candidates of {}",
          change.tensor, change.pattern.rows(), change.pattern.cols(), slot.numel);
    slot.pattern = std::make_shared<const kernels::Pattern>(std::move(change.pattern));
    slot.view = slot.pattern->view();
    slot.stored = slot.view.nnz();
    slot.version = changes_;
  }
  Place();
}

// Whole tensors first: what follows them moves at every change, and they are the large ones.
void Layout::Place() {
  floats_ = elements_ = 0;
  for (const bool whole : {true, false}) {
    for (Slot& slot : slots_) {
      if ((slot.pattern == nullptr) != whole) continue;
      slot.offset = floats_;
      floats_ += (slot.stored + kAlignment - 1) / kAlignment * kAlignment;
      elements_ += slot.stored;
    }
  }
}

}  // namespace filigree::model
