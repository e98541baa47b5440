#include "worker/mask/mask_set.h"

#include <algorithm>
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

int64_t MaskSet::KeptOf(int tensor, const Densities& densities, const model::Layout& layout) const {
  const model::TensorInfo& info = registry_[tensor];
  return std::min(KeptEntries(DensityOf(info, densities), info.numel()), layout.stored(tensor));
}

bool MaskSet::WillMask(int tensor, const Densities& densities, const model::Layout& layout) const {
  return masks_[tensor].sparsified && KeptOf(tensor, densities, layout) < layout.stored(tensor);
}

kernels::CandidateSelection MaskSet::CandidateRule(const model::TensorInfo& info, int64_t k) const {
  return {k, static_cast<int>(EffectiveMinAlive(info, k, min_alive_).j), info.unit};
}

void MaskSet::Update(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights) {
  UpdateTensors(densities, decay, pool, weights, [](int) { return true; });
}

void MaskSet::UpdateTensors(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights,
                            const std::function<bool(int)>& wanted) {
  const model::Layout& layout = weights.layout();
  std::vector<int> on_candidates;
  for (int i = 0; i < registry_.size(); ++i) {
    const model::TensorInfo& info = registry_[i];
    Mask& mask = masks_[i];
    if (!mask.sparsified || !wanted(i)) continue;
    mask.all = !WillMask(i, densities, layout);
    mask.nonzeros = KeptOf(i, densities, layout);
    if (mask.all) {
      mask.threshold = {};
      continue;
    }
    const size_t words = Words(layout.stored(i));
    if (mask.kept.size() < words) mask.kept = kernels::Buffer<uint64_t>(words);
    if (layout.candidates(i) != nullptr) {
      on_candidates.push_back(i);
      continue;
    }
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
  UpdateCandidates(on_candidates, decay, pool, weights);
}

// The sets are small: a thread takes a whole one, the largest first.
void MaskSet::UpdateCandidates(std::vector<int> tensors, float decay, kernels::ThreadPool& pool,
                               model::Arena& weights) {
  const model::Layout& layout = weights.layout();
  std::stable_sort(tensors.begin(), tensors.end(), [&](int a, int b) { return layout.stored(a) > layout.stored(b); });
  pool.Run(static_cast<int64_t>(tensors.size()), [&](int64_t task, int) {
    const model::TensorInfo& info = registry_[tensors[task]];
    Mask& mask = masks_[info.index];
    float* w = weights.tensor(info);
    kernels::SelectCandidates(*layout.candidates(info.index), w, CandidateRule(info, mask.nonzeros), &mask.threshold,
                              mask.kept.data());
    kernels::ApplyCandidateSelection(mask.kept.data(), layout.stored(info.index), info.decays ? decay : 1.0f, w);
  });
}

const uint64_t* MaskSet::kept(int tensor) const { return masks_[tensor].all ? nullptr : masks_[tensor].kept.data(); }

int64_t MaskSet::nonzeros(int tensor) const { return masks_[tensor].nonzeros; }

bool MaskSet::sparsified(int tensor) const { return masks_[tensor].sparsified; }

kernels::WeightThreshold MaskSet::threshold(int tensor) const { return masks_[tensor].threshold; }

void MaskSet::Restore(int tensor, const uint64_t* kept, int64_t stored, kernels::WeightThreshold threshold) {
  const model::TensorInfo& info = registry_[tensor];
  Mask& mask = masks_[tensor];
  mask.all = kept == nullptr;
  mask.threshold = std::move(threshold);
  mask.nonzeros = stored;
  if (kept == nullptr) return;
  CHECK(mask.sparsified, "a mask for {}, which follows no density", info.name);
  const size_t words = Words(stored);
  if (mask.kept.size() < words || mask.kept.size() > 4 * words) mask.kept = kernels::Buffer<uint64_t>(words);
  std::memcpy(mask.kept.data(), kept, words * sizeof(uint64_t));
  mask.nonzeros = 0;
  for (size_t i = 0; i < words; ++i) mask.nonzeros += std::popcount(mask.kept[i]);
}

size_t MaskSet::bytes() const {
  size_t sum = 0;
  for (const Mask& mask : masks_) sum += mask.kept.size() * sizeof(uint64_t);
  return sum;
}

}  // namespace filigree::mask
