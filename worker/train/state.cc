#include "worker/train/state.h"

#include <utility>

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
  for (model::Arena* arena : {&weights, &optimizer.m(), &optimizer.v()}) model::Move(before, sources, pool, *arena);
}

}  // namespace filigree::train
