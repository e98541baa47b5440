#include "worker/mask/mask_set.h"

#include <bit>
#include <cstring>
#include <utility>

#include "kernels/base/check.h"

namespace filigree::mask {
namespace {

size_t Words(int64_t numel) { return static_cast<size_t>((numel + 63) / 64); }

double DensityOf(const model::TensorInfo& info, const Densities& densities) {
  return info.density == model::Density::kEmbedding ? densities.embedding : densities.weight;
}

}  // namespace

MaskSet::MaskSet(const model::Registry& registry, int64_t min_alive, config::Biases biases)
    : registry_(registry), min_alive_(min_alive), masks_(registry.size()) {
  CHECK(min_alive >= 0, "min_alive = {}", min_alive);
  for (int i = 0; i < registry_.size(); ++i) {
    masks_[i].sparsified = registry_[i].density == model::Density::kWeight ||
                           registry_[i].density == model::Density::kEmbedding ||
                           (registry_[i].density == model::Density::kBias && biases == config::Biases::kSparse);
    masks_[i].nonzeros = registry_[i].numel();
  }
}

bool MaskSet::WillMask(int tensor, const Densities& densities) const {
  const model::TensorInfo& info = registry_[tensor];
  return masks_[tensor].sparsified && KeptEntries(DensityOf(info, densities), info.numel()) < info.numel();
}

void MaskSet::Update(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights) {
  for (int i = 0; i < registry_.size(); ++i) {
    const model::TensorInfo& info = registry_[i];
    Mask& mask = masks_[i];
    if (!mask.sparsified) continue;
    mask.all = !WillMask(i, densities);
    mask.nonzeros = KeptEntries(DensityOf(info, densities), info.numel());
    if (mask.all) {
      mask.threshold = {};
      continue;
    }
    if (mask.kept.empty()) mask.kept = kernels::Buffer<uint64_t>(Words(info.numel()));
    kernels::WeightSelection selection;
    selection.rows = info.rows;
    selection.cols = info.cols;
    selection.k = mask.nonzeros;
    selection.min_alive = static_cast<int>(EffectiveMinAlive(info, mask.nonzeros, min_alive_).j);
    selection.unit = info.unit;
    float* w = weights.tensor(info);
    kernels::SelectWeights(w, selection, &mask.threshold, pool, mask.kept.data());
    kernels::ApplySelection(mask.kept.data(), info.numel(), info.decays ? decay : 1.0f, pool, w);
  }
}

const uint64_t* MaskSet::kept(int tensor) const { return masks_[tensor].all ? nullptr : masks_[tensor].kept.data(); }

int64_t MaskSet::nonzeros(int tensor) const { return masks_[tensor].nonzeros; }

bool MaskSet::sparsified(int tensor) const { return masks_[tensor].sparsified; }

kernels::WeightThreshold MaskSet::threshold(int tensor) const { return masks_[tensor].threshold; }

void MaskSet::Restore(int tensor, const uint64_t* kept, kernels::WeightThreshold threshold) {
  const model::TensorInfo& info = registry_[tensor];
  Mask& mask = masks_[tensor];
  mask.all = kept == nullptr;
  mask.threshold = std::move(threshold);
  mask.nonzeros = info.numel();
  if (kept == nullptr) return;
  CHECK(mask.sparsified, "a mask for {}, which follows no density", info.name);
  const size_t words = Words(info.numel());
  if (mask.kept.empty()) mask.kept = kernels::Buffer<uint64_t>(words);
  std::memcpy(mask.kept.data(), kept, words * sizeof(uint64_t));
  mask.nonzeros = 0;
  for (const uint64_t word : mask.kept) mask.nonzeros += std::popcount(word);
}

size_t MaskSet::bytes() const {
  size_t sum = 0;
  for (const Mask& mask : masks_) sum += mask.kept.size() * sizeof(uint64_t);
  return sum;
}

}  // namespace filigree::mask
