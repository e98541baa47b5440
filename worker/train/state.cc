#include "worker/train/state.h"

namespace filigree::train {

TrainState::TrainState(const model::ModelSpec& spec_in, const config::Settings& settings)
    : spec(spec_in),
      registry(spec),
      weights(registry),
      optimizer(registry, settings.optim),
      masks(registry, settings.sparsity.min_alive, settings.sparsity.biases) {}

}  // namespace filigree::train
