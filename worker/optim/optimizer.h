#ifndef FILIGREE_WORKER_OPTIM_OPTIMIZER_H_
#define FILIGREE_WORKER_OPTIM_OPTIMIZER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/model/arena.h"

// Gradient normalisation and Adam over all stored values of a model: every parameter, or, where a tensor has
// candidates, those.

namespace filigree::optim {

struct GradientSize {
  double norm = 0;  // ||g||_2
  double rms = 0;   // norm / sqrt(number of stored elements), zeros and bigram included
};

// Sums in double over fixed blocks of each tensor, the blocks in order: the same bits for any number of threads.
GradientSize MeasureGradient(const model::Arena& gradient, kernels::ThreadPool& pool);

// Its two halves, for ranks that have not all of a gradient. Sums of squares, one a block (blocks.h), of the tensors
// that `wanted` names; 0 for the others.
std::vector<double> BlockSums(const model::Arena& gradient, kernels::ThreadPool& pool,
                              const std::function<bool(int tensor)>& wanted);
// Of the sums of all blocks of a gradient with this layout.
GradientSize SizeOf(const std::vector<double>& block_sums, const model::Layout& layout);

// What a gradient is multiplied by: normalise 1 / (rms + 1e-5), always, also when rms < 1; clip 1 / max(rms, 1).
double GradientScale(config::GradientRule rule, double rms);

// One Adam step of every tensor, w -= lr * mhat / (sqrt(vhat) + eps) with s counting from 0 (kernels/adam), then
// w *= 1 - weight_decay * lr for tensors that decay and for which `masked(tensor)` is false; masked ones decay after
// their mask (worker/mask).
class Optimizer {
 public:
  // The moments share `layout` with the weights and gradients of the steps. Borrows the registry.
  Optimizer(const model::Registry& registry, std::shared_ptr<const model::Layout> layout,
            const config::OptimSettings& settings);
  // Every tensor whole.
  Optimizer(const model::Registry& registry, const config::OptimSettings& settings);

  // `masked`: one entry a tensor.
  void Step(int64_t s, double lr, double gradient_scale, const bool* masked, const model::Arena& gradient,
            kernels::ThreadPool& pool, model::Arena& weights);
  // The same for some tensors; weights and moments of the others stay as they are.
  struct Some {
    std::function<bool(int tensor)> wanted;  // null: all
    // Called from the pool's threads, several at once, when stored values [begin, begin + size) of a tensor have their
    // new weights and moments, which are in cache then. Null: nobody waits for it.
    std::function<void(int tensor, int64_t begin, int64_t size)> written;
  };
  void StepTensors(int64_t s, double lr, double gradient_scale, const bool* masked, const model::Arena& gradient,
                   kernels::ThreadPool& pool, model::Arena& weights, const Some& some);

  // 1 - weight_decay * lr, rounded to fp32.
  float DecayFactor(double lr) const;

  model::Arena& m() { return m_; }
  model::Arena& v() { return v_; }
  const model::Arena& m() const { return m_; }
  const model::Arena& v() const { return v_; }

 private:
  const model::Registry& registry_;
  config::OptimSettings settings_;
  model::Arena m_, v_;
};

}  // namespace filigree::optim

#endif  // FILIGREE_WORKER_OPTIM_OPTIMIZER_H_
