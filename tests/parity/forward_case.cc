#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "tests/parity/activation_recorder.h"
#include "tests/parity/run_case.h"
#include "tests/parity/tensor_comparer.h"
#include "worker/model/network.h"

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

absl::Status RunForwardCase(const GoldenCase& golden, int shards, config::Regime regime, kernels::ThreadPool& pool,
                            Report& report) {
  const int B = golden.batch, T = golden.positions, V = golden.spec.vocab;
  const model::Registry registry(golden.spec);
  const std::shared_ptr<model::Layout> layout = LayoutFor(regime, registry);
  model::Arena weights(layout), gradient(layout);
  absl::Status read = ReadWeights(golden, registry, weights);
  if (!read.ok()) return read;
  Network network(golden.spec, registry, pool);
  network.SetWeights(weights);

  const Network::Batch batch{golden.tokens.data(), B, T};
  std::vector<float> logits(static_cast<size_t>(B) * T * V);
  network.Logits(batch, logits.data());
  ActivationRecorder recorder(golden.spec, B, T);
  const auto loss = static_cast<float>(LossAndGradient(golden, std::clamp(shards, 1, B), network, recorder, gradient));

  TensorComparer comparer(golden, report);
  for (const ActivationRecorder::Record& record : recorder.records()) {
    comparer.Compare(record.name, {B, T, record.channels}, record.values, Zeros::kMustAgree);
  }
  comparer.Compare("logits", {B, T, V}, logits, Zeros::kIgnore);
  comparer.Compare("loss", {1}, {&loss, 1}, Zeros::kIgnore);
  for (const model::TensorInfo& info : registry.tensors()) comparer.CompareGradient(info, gradient.tensor(info));
  comparer.Finish();
  return absl::OkStatus();
}

}  // namespace filigree::parity
