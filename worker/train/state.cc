#include "worker/train/state.h"

#include <utility>

#include "kernels/base/check.h"

namespace filigree::train {

TrainState::TrainState(const model::ModelSpec& spec_in, const config::Settings& settings)
    : TrainState(spec_in, settings, std::make_shared<model::Layout>(model::Registry(spec_in).numels())) {}

TrainState::TrainState(const model::ModelSpec& spec_in, const config::Settings& settings,
                       std::shared_ptr<model::Layout> layout_in)
    : spec(spec_in),
      registry(spec),
      layout(std::move(layout_in)),
      weights(layout),
      optimizer(registry, layout, settings.optim),
      masks(registry, settings.sparsity.min_alive, settings.sparsity.biases, settings.sparsity.scope) {}

void TrainState::ChangeCandidates(std::vector<Change> changes, kernels::ThreadPool& pool) {
  const model::Layout before = *layout;
  model::Sources sources{std::vector<const uint32_t*>(registry.size())};
  std::vector<model::Layout::Change> patterns;
  patterns.reserve(changes.size());
  for (Change& change : changes) {
    sources.of[change.tensor] = change.source.data();
    patterns.push_back({change.tensor, std::move(change.pattern)});
  }
  layout->Apply(std::move(patterns));
  model::Move(before, sources, pool, weights);
  sources.needed = held_moments_;
  for (model::Arena* moments : {&optimizer.m(), &optimizer.v()}) model::Move(before, sources, pool, *moments);
}

void TrainState::HoldMoments(std::vector<bool> of) {
  for (int t = 0; t < registry.size(); ++t) {
    CHECK(HoldsMoments(t) || !(of.empty() || of[t]), "the moments of {} are not here", registry[t].name);
  }
  if (of == held_moments_) return;
  held_moments_ = std::move(of);
  for (model::Arena* moments : {&optimizer.m(), &optimizer.v()}) model::KeepOnly(held_moments_, *moments);
}

}  // namespace filigree::train
