#include "worker/optim/optimizer.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "worker/optim/blocks.h"

namespace filigree::optim {
namespace {

constexpr double kRmsEpsilon = 1e-5;

}  // namespace

GradientSize MeasureGradient(const model::Arena& gradient, kernels::ThreadPool& pool) {
  return SizeOf(BlockSums(gradient, pool, [](int) { return true; }), gradient.layout());
}

std::vector<double> BlockSums(const model::Arena& gradient, kernels::ThreadPool& pool,
                              const std::function<bool(int)>& wanted) {
  const std::vector<Block> blocks = BlocksOf(gradient.layout());
  std::vector<double> sums(blocks.size());
  pool.Run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
    if (wanted(blocks[i].tensor)) sums[i] = kernels::SumOfSquares(gradient.data() + blocks[i].offset, blocks[i].size);
  });
  return sums;
}

GradientSize SizeOf(const std::vector<double>& block_sums, const model::Layout& layout) {
  double total = 0;
  for (const double sum : block_sums) total += sum;
  GradientSize size;
  size.norm = std::sqrt(total);
  size.rms = std::sqrt(total / static_cast<double>(layout.stored_elements()));
  return size;
}

double GradientScale(config::GradientRule rule, double rms) {
  if (rule == config::GradientRule::kClip) return 1 / std::max(rms, 1.0);
  return 1 / (rms + kRmsEpsilon);
}

Optimizer::Optimizer(const model::Registry& registry, std::shared_ptr<const model::Layout> layout,
                     const config::OptimSettings& settings)
    : registry_(registry), settings_(settings), m_(layout), v_(std::move(layout)) {}

Optimizer::Optimizer(const model::Registry& registry, const config::OptimSettings& settings)
    : Optimizer(registry, std::make_shared<model::Layout>(registry.numels()), settings) {}

float Optimizer::DecayFactor(double lr) const { return static_cast<float>(1 - settings_.weight_decay * lr); }

void Optimizer::Step(int64_t s, double lr, double gradient_scale, const bool* masked, const model::Arena& gradient,
                     kernels::ThreadPool& pool, model::Arena& weights) {
  StepTensors(s, lr, gradient_scale, masked, gradient, pool, weights, {});
}

void Optimizer::StepTensors(int64_t s, double lr, double gradient_scale, const bool* masked,
                            const model::Arena& gradient, kernels::ThreadPool& pool, model::Arena& weights,
                            const Some& some) {
  CHECK(s >= 0, "step {}", s);
  const double updates = static_cast<double>(s) + 1;
  kernels::AdamStep step;
  step.lr = static_cast<float>(lr);
  step.beta1 = settings_.beta1;
  step.beta2 = settings_.beta2;
  step.eps = static_cast<float>(settings_.eps);
  step.bias1 = static_cast<float>(1 - std::pow(settings_.beta1, updates));
  step.bias2 = static_cast<float>(1 - std::pow(settings_.beta2, updates));
  step.gradient_scale = static_cast<float>(gradient_scale);
  const float decay = DecayFactor(lr);

  const std::vector<Block> blocks = BlocksOf(weights.layout());
  pool.Run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int) {
    const auto& [tensor, offset, size] = blocks[i];
    if (some.wanted && !some.wanted(tensor)) return;
    kernels::AdamStep mine = step;
    mine.decay = registry_[tensor].decays && !masked[tensor] ? decay : 1.0f;
    kernels::Adam(mine, size, gradient.data() + offset, m_.data() + offset, v_.data() + offset,
                  weights.data() + offset);
    if (some.written) some.written(tensor, offset - weights.layout().offset(tensor), size);
  });
}

}  // namespace filigree::optim
