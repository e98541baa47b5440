#ifndef FILIGREE_WORKER_EXCHANGE_RESIDUAL_H_
#define FILIGREE_WORKER_EXCHANGE_RESIDUAL_H_

#include <memory>
#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/model/arena.h"
#include "worker/model/layout.h"

// What one rank has not sent yet of its gradients: part of the state of a run, of this rank alone. One value an entry
// of the gradient's layout; 0 at first, and where an entry has only just become a candidate. What is held back for an
// entry that is no candidate any more is dropped with its moments.
//
// A step that is taken back gives back what it had sent: Begin, then exchange, then Undo if the step changes nothing.

namespace filigree::exchange {

class Residual {
 public:
  // Borrows the pool. layout: of the gradients; it may change between steps.
  Residual(std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool);

  // After the layout has changed: values move to where their entries are now.
  void Follow();
  // Before the exchange of a step.
  void Begin();
  void Undo();

  // In the layout that `known` is: that of the last Follow.
  std::span<float> values() { return {arena_.data(), static_cast<size_t>(known_.floats())}; }
  std::span<float> tensor(int index) {
    return {arena_.data() + known_.offset(index), static_cast<size_t>(known_.stored(index))};
  }
  const float* tensor(int index) const { return arena_.data() + known_.offset(index); }
  const model::Layout& known() const { return known_; }

  size_t bytes() const { return (static_cast<size_t>(arena_.size()) + before_.size()) * sizeof(float); }

 private:
  kernels::ThreadPool& pool_;
  const std::shared_ptr<const model::Layout> layout_;
  model::Layout known_;  // where the arena's values are
  model::Arena arena_;
  kernels::Buffer<float> before_;  // the exchange of this step
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_RESIDUAL_H_
