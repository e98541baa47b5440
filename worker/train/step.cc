#include "worker/train/step.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <vector>

#include "worker/mask/density.h"
#include "worker/optim/learning_rate.h"
#include "worker/train/candidates.h"
#include "worker/train/fault.h"
#include "worker/train/flip.h"
#include "worker/train/pass_memory.h"

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

bool SharesTheModel(const parallel::World* world) { return world != nullptr && world->grid().tensor > 1; }

model::Shard ShardOf(const parallel::World& world) { return {world.tensor_rank(), world.grid().tensor}; }

std::vector<int> OwnersOf(const config::Settings& settings, const TrainState& state, const parallel::World& world) {
  return OwnersIn(settings, state.registry, world.grid());
}

Ownership OwnershipIn(const config::Settings& settings, const TrainState& state, parallel::World* world) {
  if (world == nullptr) return {};
  comm::Communicator& ranks = SharesTheModel(world) ? world->tensor() : world->data();
  return {OwnersOf(settings, state, *world), ranks, &world->progress()};
}

void Take(const BatchGradient::Result& batch, StepResult& result) {
  result.loss = batch.loss;
  result.forward_seconds = batch.forward_seconds;
  result.backward_seconds = batch.backward_seconds;
  result.exchange_seconds = batch.exchange_seconds;
}

}  // namespace

Stepper::Stepper(const config::Settings& settings, TrainState& state, kernels::ThreadPool& pool, parallel::World* world,
                 int64_t bucket_bytes)
    : settings_(settings),
      state_(state),
      pool_(pool),
      world_(world),
      tensor_ranks_(SharesTheModel(world) ? std::make_unique<TensorRanks>(*world) : nullptr),
      shard_(SharesTheModel(world)
                 ? std::make_unique<ModelShard>(state, ShardOf(*world), OwnersOf(settings, state, *world))
                 : nullptr),
      network_(state.spec, shard_ == nullptr ? state.registry : shard_->registry(), pool, tensor_ranks_.get()),
      batch_gradient_(settings, state, shard_.get(), pool, world, bucket_bytes),
      ownership_(OwnershipIn(settings, state, world)),
      evidence_(Evidence::Make(settings, state, shard_.get())),
      replicas_(
          world == nullptr || world->size() == 1
              ? nullptr
              : std::make_unique<Replicas>(state, Replicas::Own{residual(), &registry(), &ownership_}, pool, *world)) {
  network_.LimitSequencesAtOnce(SequencesEvaluatedAtOnce(
      state.spec, settings, world == nullptr ? parallel::Grid() : world->grid(), world == nullptr ? 0 : world->rank()));
  if (world != nullptr) state_.HoldMoments(HeldBy(settings, state.registry, world->grid(), world->rank()));
  TakeWeights();
}

// The table of one step in docs/method.md, line by line.
absl::StatusOr<StepResult> Stepper::Step(const int32_t* tokens, int sequences, int positions, double most_loss) {
  const int64_t s = state_.step, S = settings_.run.steps;
  const mask::Densities f = mask::DensitiesAt(settings_.sparsity, S, s);
  StepResult result;
  result.density = f.weight;
  result.embedding_density = f.embedding;
  result.lr = optim::LearningRate(settings_.optim, S, s, f.weight, settings_.sparsity.density);

  FaultPoint("forward", s);
  FlipOnRequest(s, FlipTime::kBetweenUpdates, ownership_, state_);
  const comm::Traffic before = Traffic(), activations_before = TensorTraffic();
  if (absl::Status same = CheckReplicas(); !same.ok()) return same;
  const absl::StatusOr<BatchGradient::Result> batch = batch_gradient_.Compute(
      {tokens, sequences, positions}, network_, RefreshDue(settings_, s) ? evidence_.get() : nullptr);
  if (!batch.ok()) return batch.status();
  Take(*batch, result);
  result.activations = TensorTraffic() - activations_before;
  Stopwatch watch;
  const model::Arena& gradient = batch_gradient_.gradient();
  const absl::StatusOr<optim::GradientSize> size = ownership_.Measure(gradient, pool_);
  if (!size.ok()) return size.status();
  if (ownership_.divided()) result.exchange_seconds += watch.Lap();  // owners wait for each other's sizes
  result.gradient_norm = size->norm;
  result.gradient_rms = size->rms;
  result.traffic = Traffic() - before;
  if (!std::isfinite(result.loss) || !std::isfinite(size->norm) || result.loss > most_loss) {
    batch_gradient_.Undo();
    return result;
  }

  FaultPoint("optimizer", s);
  state_.torn = true;  // until the end
  const double scale = optim::GradientScale(settings_.optim.gradient, size->rms);
  const auto masked = std::make_unique<bool[]>(state_.registry.size());
  for (int i = 0; i < state_.registry.size(); ++i) masked[i] = state_.masks.WillMask(i, f, *state_.layout);
  state_.masks.BeginWriting(f, *state_.layout);
  state_.optimizer.StepTensors(s, result.lr, scale, masked.get(), gradient, pool_, state_.weights,
                               TensorsToUpdate(masked.get()));
  result.optimizer_seconds = watch.Lap();

  FaultPoint("topk", s);
  const float decay = state_.optimizer.DecayFactor(result.lr);
  absl::Status chosen = ownership_.ChooseMasks(f, decay, pool_, state_.weights, state_.masks);
  if (!chosen.ok()) return chosen;
  result.topk_seconds = watch.Lap();
  absl::Status gathered = ownership_.GatherWeights(f, state_.registry, pool_, state_.weights, state_.masks);
  if (!gathered.ok()) return gathered;
  result.exchange_seconds += watch.Lap();
  result.refreshed = RefreshDue(settings_, s);
  if (absl::Status refreshed = result.refreshed ? Refresh(s) : absl::OkStatus(); !refreshed.ok()) return refreshed;
  TakeWeights();
  if (residual() != nullptr) residual()->Follow();
  FlipOnRequest(s, FlipTime::kInTheUpdate, ownership_, state_);
  if (replicas_ != nullptr) replicas_->Remember();
  result.topk_seconds += watch.Lap();
  result.traffic = Traffic() - before;
  state_.step += 1;
  state_.position += sequences;
  state_.torn = false;
  return result;
}

std::span<const exchange::TensorDigests> Stepper::left() const {
  return replicas_ == nullptr ? std::span<const exchange::TensorDigests>() : replicas_->left();
}

comm::Traffic Stepper::Traffic() const { return world_ == nullptr ? comm::Traffic() : world_->traffic(); }

comm::Traffic Stepper::TensorTraffic() const {
  const bool shared = world_ != nullptr && world_->grid().tensor > 1;
  return shared ? world_->tensor().traffic() : comm::Traffic();
}

// What is written goes to the choice of masks and to digests while it is in cache. It is final for these but where
// candidates are about to change; weights, where no mask and no owner changes them afterwards.
optim::Optimizer::Some Stepper::TensorsToUpdate(const bool* masked) {
  optim::Optimizer::Some some;
  some.wanted = [this](int tensor) { return ownership_.Updates(tensor); };
  const bool remembered = replicas_ != nullptr && !RefreshDue(settings_, state_.step);
  some.written = [this, masked, remembered](int tensor, int64_t begin, int64_t size) {
    state_.masks.Written(tensor, begin, size, state_.weights);
    if (remembered) replicas_->Written(tensor, begin, size, !masked[tensor] && ownership_.owner(tensor) < 0);
  };
  return some;
}

absl::Status Stepper::Refresh(int64_t s) {
  FaultPoint("refresh", s);
  return RefreshCandidates(settings_, s, evidence_.get(), ownership_, pool_, state_);
}

void Stepper::TakeWeights() {
  const auto nonzeros = [this](int tensor) { return state_.masks.nonzeros(tensor); };
  if (shard_ != nullptr) {
    shard_->Take();
    network_.SetWeights(
        shard_->weights(), [this](int tensor) { return shard_->kept(tensor); }, nonzeros);
    return;
  }
  network_.SetWeights(
      state_.weights, [this](int tensor) { return state_.masks.kept(tensor); }, nonzeros);
}

}  // namespace filigree::train
