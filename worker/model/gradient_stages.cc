#include "worker/model/gradient_stages.h"

#include <algorithm>

namespace filigree::model {
namespace {

int LayersOf(const Registry& registry) {
  int layers = 0;
  for (const TensorInfo& info : registry.tensors()) layers = std::max(layers, info.layer + 1);
  return layers;
}

// What WeightGradients::Layer writes; gains and sinks of a layer come last of all.
bool OfALayer(const TensorInfo& info) {
  return info.layer >= 0 && (info.density == Density::kWeight || info.density == Density::kBias);
}

}  // namespace

std::vector<std::vector<int>> GradientStages(const Registry& registry) {
  const int layers = LayersOf(registry);
  std::vector<std::vector<int>> stages(layers + 2);
  for (const TensorInfo& info : registry.tensors()) {
    const bool head = info.index == registry.lm_head() || info.index == registry.bigram();
    const int stage = head ? 0 : OfALayer(info) ? layers - info.layer : layers + 1;
    stages[stage].push_back(info.index);
  }
  return stages;
}

}  // namespace filigree::model
