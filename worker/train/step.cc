#include "worker/train/step.h"

#include <chrono>
#include <cmath>
#include <memory>

#include "worker/mask/density.h"
#include "worker/optim/learning_rate.h"
#include "worker/train/candidates.h"
#include "worker/train/fault.h"

namespace filigree::train {
namespace {

class Stopwatch {
 public:
  // Seconds since the last lap.
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

Stepper::Stepper(const config::Settings& settings, TrainState& state, kernels::ThreadPool& pool)
    : settings_(settings),
      state_(state),
      pool_(pool),
      network_(state.spec, state.registry, pool),
      gradients_(state.layout, pool),
      evidence_(Evidence::Make(settings, state)) {
  TakeWeights();
}

// The table of one step in docs/method.md, line by line.
StepResult Stepper::Step(const int32_t* tokens, int sequences, int positions) {
  const int64_t s = state_.step, S = settings_.run.steps;
  const mask::Densities f = mask::DensitiesAt(settings_.sparsity, S, s);
  StepResult result;
  result.density = f.weight;
  result.embedding_density = f.embedding;
  result.lr = optim::LearningRate(settings_.optim, S, s, f.weight, settings_.sparsity.density);

  FaultPoint("forward", s);
  result.loss = MeanLossAndGradient(tokens, sequences, positions, result);
  Stopwatch watch;
  const model::Arena& gradient = gradients_.Finish();
  const optim::GradientSize size = optim::MeasureGradient(gradient, pool_);
  result.gradient_norm = size.norm;
  result.gradient_rms = size.rms;
  if (!std::isfinite(result.loss) || !std::isfinite(size.norm)) return result;

  FaultPoint("optimizer", s);
  const double scale = optim::GradientScale(settings_.optim.gradient, size.rms);
  const auto masked = std::make_unique<bool[]>(state_.registry.size());
  for (int i = 0; i < state_.registry.size(); ++i) masked[i] = state_.masks.WillMask(i, f, *state_.layout);
  state_.optimizer.Step(s, result.lr, scale, masked.get(), gradient, pool_, state_.weights);
  result.optimizer_seconds = watch.Lap();

  FaultPoint("topk", s);
  state_.masks.Update(f, state_.optimizer.DecayFactor(result.lr), pool_, state_.weights);
  result.refreshed = RefreshDue(settings_, s);
  if (result.refreshed) Refresh(s);
  TakeWeights();
  result.topk_seconds = watch.Lap();
  state_.step += 1;
  state_.position += sequences;
  return result;
}

// Mean over all predicted positions; the gradient is left in the tree.
double Stepper::MeanLossAndGradient(const int32_t* tokens, int sequences, int positions, StepResult& result) {
  const int64_t shards = settings_.train.shards;
  const double predicted = static_cast<double>(sequences) * (positions - 1);
  model::PassTimes times;
  model::GradientWitness* witness = RefreshDue(settings_, state_.step) ? evidence_->Begin(state_.step) : nullptr;
  gradients_.Begin();
  for (int64_t shard = 0; shard < shards; ++shard) {
    const int begin = static_cast<int>(sequences * shard / shards);
    const int end = static_cast<int>(sequences * (shard + 1) / shards);
    const model::Network::Batch batch{tokens + static_cast<size_t>(begin) * positions, end - begin, positions};
    if (shard == 1) FaultPoint("backward", state_.step);  // the first shard has run backward
    const GradientTree::Leaf leaf = gradients_.NextLeaf();
    gradients_.Merge(
        network_.LossAndGradient(batch, 1 / predicted, leaf.write, *leaf.gradient, /*tap=*/nullptr, &times, witness));
  }
  gradients_.Finish();
  result.forward_seconds = times.forward;
  result.backward_seconds = times.backward;
  return gradients_.loss() / predicted;
}

void Stepper::Refresh(int64_t s) {
  FaultPoint("refresh", s);
  RefreshCandidates(settings_, s, evidence_.get(), pool_, state_);
}

void Stepper::TakeWeights() {
  network_.SetWeights(
      state_.weights, [this](int tensor) { return state_.masks.kept(tensor); },
      [this](int tensor) { return state_.masks.nonzeros(tensor); });
}

}  // namespace filigree::train
