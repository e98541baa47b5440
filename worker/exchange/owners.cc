#include "worker/exchange/owners.h"

#include <algorithm>
#include <cstdint>

namespace filigree::exchange {
namespace {

bool HasAnOwner(const model::TensorInfo& info) {
  const bool sparsified = info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
  return sparsified && info.shape.size() == 2;
}

}  // namespace

std::vector<int> OwnersOf(const model::Registry& registry, int ranks) {
  std::vector<int> matrices;
  matrices.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) {
    if (HasAnOwner(info)) matrices.push_back(info.index);
  }
  std::stable_sort(matrices.begin(), matrices.end(),
                   [&](int a, int b) { return registry[a].numel() > registry[b].numel(); });
  std::vector<int> owners(registry.size(), -1);
  std::vector<int64_t> load(ranks);
  for (const int matrix : matrices) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += registry[matrix].numel();
    owners[matrix] = static_cast<int>(least - load.begin());
  }
  return owners;
}

}  // namespace filigree::exchange
