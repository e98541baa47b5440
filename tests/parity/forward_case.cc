#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/parity/activation_recorder.h"
#include "tests/parity/run_case.h"
#include "tests/parity/tensor_comparer.h"
#include "worker/model/network.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/model_shard.h"
#include "worker/train/ownership.h"
#include "worker/train/state.h"
#include "worker/train/tensor_ranks.h"

namespace filigree::parity {
namespace {

using model::Network;

// Mean loss of the batch and its gradient, shard by shard as a training step forms them; activations go to `recorder`.
double LossAndGradient(const GoldenCase& golden, int shards, Network& network, ActivationRecorder& recorder,
                       model::Arena& gradient) {
  const int T = golden.positions;
  const double predicted = static_cast<double>(golden.batch) * (T - 1);
  double sum = 0;
  for (int shard = 0; shard < shards; ++shard) {
    const int begin = golden.batch * shard / shards, end = golden.batch * (shard + 1) / shards;
    const Network::Batch batch{golden.tokens.data() + static_cast<size_t>(begin) * T, end - begin, T};
    const Network::Write write = shard == 0 ? Network::Write::kOverwrite : Network::Write::kAdd;
    recorder.SetFirstSequence(begin);
    sum += network.LossAndGradient(batch, 1 / predicted, write, gradient, &recorder);
  }
  return sum / predicted;
}

}  // namespace

std::shared_ptr<model::Layout> LayoutFor(config::Regime regime, const model::Registry& registry) {
  auto layout = std::make_shared<model::Layout>(registry.numels());
  if (regime != config::Regime::kActive) return layout;
  std::vector<model::Layout::Change> changes;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.density != model::Density::kWeight && info.density != model::Density::kEmbedding) continue;
    changes.push_back({info.index, kernels::Pattern::Full(static_cast<int>(info.rows), static_cast<int>(info.cols))});
  }
  layout->Apply(std::move(changes));
  return layout;
}

namespace {

// Logits of the batch, its loss and gradients, compared one after the other.
void Compare(const GoldenCase& golden, const std::vector<float>& logits, float loss, const model::Registry& registry,
             const model::Arena& gradient, TensorComparer& comparer) {
  comparer.Compare("logits", {golden.batch, golden.positions, golden.spec.vocab}, logits, Zeros::kIgnore);
  comparer.Compare("loss", {1}, {&loss, 1}, Zeros::kIgnore);
  for (const model::TensorInfo& info : registry.tensors()) comparer.CompareGradient(info, gradient.tensor(info));
}

size_t LogitsOf(const GoldenCase& golden) {
  return static_cast<size_t>(golden.batch) * golden.positions * golden.spec.vocab;
}

absl::Status RunAlone(const GoldenCase& golden, const Runner& runner, Report& report) {
  const int B = golden.batch, T = golden.positions;
  const model::Registry registry(golden.spec);
  const std::shared_ptr<model::Layout> layout = LayoutFor(runner.regime, registry);
  model::Arena weights(layout), gradient(layout);
  absl::Status read = ReadWeights(golden, registry, weights);
  if (!read.ok()) return read;
  Network network(golden.spec, registry, *runner.pool);
  network.SetWeights(weights);

  std::vector<float> logits(LogitsOf(golden));
  network.Logits({golden.tokens.data(), B, T}, logits.data());
  ActivationRecorder recorder(golden.spec, B, T);
  const int shards = std::clamp(runner.shards, 1, B);
  const auto loss = static_cast<float>(LossAndGradient(golden, shards, network, recorder, gradient));

  TensorComparer comparer(golden, report);
  for (const ActivationRecorder::Record& record : recorder.records()) {
    comparer.Compare(record.name, {B, T, record.channels}, record.values, Zeros::kMustAgree);
  }
  Compare(golden, logits, loss, registry, gradient, comparer);
  comparer.Finish();
  return absl::OkStatus();
}

// As a training step computes them: shards cut among data-parallel ranks, the model among those of a tensor group.
absl::Status RunTogether(const GoldenCase& golden, const Runner& runner, Report& report) {
  const parallel::Grid& grid = runner.world->grid();
  config::Settings settings;
  settings.train.batch = golden.batch;
  settings.train.shards = std::clamp(runner.shards, grid.data, golden.batch);
  train::TrainState state(golden.spec, settings, LayoutFor(runner.regime, model::Registry(golden.spec)));
  absl::Status read = ReadWeights(golden, state.registry, state.weights);
  if (!read.ok()) return read;
  train::TensorRanks tensor_ranks(*runner.world);
  const std::vector<int> owners = train::OwnersIn(settings, state.registry, grid);
  std::unique_ptr<train::ModelShard> shard;
  if (grid.tensor > 1) {
    shard = std::make_unique<train::ModelShard>(state, model::Shard{runner.world->tensor_rank(), grid.tensor}, owners);
  }
  Network network(golden.spec, shard == nullptr ? state.registry : shard->registry(), *runner.pool,
                  shard == nullptr ? nullptr : &tensor_ranks);
  network.SetWeights(shard == nullptr ? state.weights : shard->weights());

  std::vector<float> logits(LogitsOf(golden));
  network.Logits({golden.tokens.data(), golden.batch, golden.positions}, logits.data());
  if (!network.status().ok()) return network.status();
  train::BatchGradient batch_gradient(settings, state, shard.get(), *runner.pool, runner.world);
  const auto result = batch_gradient.Compute({golden.tokens.data(), golden.batch, golden.positions}, network, nullptr);
  if (!result.ok()) return result.status();
  comm::Communicator& owning = grid.tensor > 1 ? runner.world->tensor() : runner.world->data();
  const train::Ownership ownership(owners, owning, nullptr);
  absl::Status gathered = ownership.GatherArena(batch_gradient.gradient());
  if (!gathered.ok()) return gathered;

  TensorComparer comparer(golden, report);
  Compare(golden, logits, static_cast<float>(result->loss), state.registry, batch_gradient.gradient(), comparer);
  comparer.PassOver("act.");
  comparer.Finish();
  return absl::OkStatus();
}

}  // namespace

absl::Status RunForwardCase(const GoldenCase& golden, const Runner& runner, Report& report) {
  if (runner.world == nullptr || runner.world->size() == 1) return RunAlone(golden, runner, report);
  const parallel::Grid& grid = runner.world->grid();
  if (grid.data <= golden.batch) return RunTogether(golden, runner, report);
  report.AddNote(golden.name,
                 fmt::format("{} sequences are too few for {} data-parallel ranks: each computed all, alone",
                             golden.batch, grid.data));
  return RunAlone(golden, runner, report);
}

}  // namespace filigree::parity
