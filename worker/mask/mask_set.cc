#include "worker/mask/mask_set.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/candidate_topk/candidate_topk.h"
#include "kernels/shared_topk/shared_topk.h"

namespace filigree::mask {
namespace {

size_t Words(int64_t numel) { return static_cast<size_t>((numel + 63) / 64); }

double DensityOf(const model::TensorInfo& info, const Densities& densities) {
  return info.density == model::Density::kEmbedding ? densities.embedding : densities.weight;
}

}  // namespace

MaskSet::MaskSet(const model::Registry& registry, int64_t min_alive, config::Biases biases, config::MaskScope scope)
    : registry_(registry), min_alive_(min_alive), scope_(scope), masks_(registry.size()) {
  CHECK(min_alive >= 0, "min_alive = {}", min_alive);
  for (int i = 0; i < registry_.size(); ++i) {
    masks_[i].sparsified = registry_[i].density == model::Density::kWeight ||
                           registry_[i].density == model::Density::kEmbedding ||
                           (registry_[i].density == model::Density::kBias && biases == config::Biases::kSparse);
    masks_[i].nonzeros = registry_[i].numel();
  }
}

bool MaskSet::shares(int tensor) const {
  return scope_ == config::MaskScope::kGlobal && registry_[tensor].density == model::Density::kWeight;
}

// Of a tensor that shares: its own k, which decides its j, whatever its share is.
MaskSet::Choice MaskSet::ChoiceOf(int tensor, const Densities& densities, const model::Layout& layout) const {
  const model::TensorInfo& info = registry_[tensor];
  const int64_t k = KeptEntries(DensityOf(info, densities), info.numel()), stored = std::min(k, layout.stored(tensor));
  const int64_t decides_j = shares(tensor) ? k : stored;
  return {tensor, stored, static_cast<int>(EffectiveMinAlive(info, decides_j, min_alive_).j)};
}

bool MaskSet::WillMask(int tensor, const Densities& densities, const model::Layout& layout) const {
  if (!masks_[tensor].sparsified) return false;
  if (!shares(tensor)) return ChoiceOf(tensor, densities, layout).k < layout.stored(tensor);
  int64_t k = 0, stored = 0;
  for (int i = 0; i < registry_.size(); ++i) {
    if (!shares(i)) continue;
    k += KeptEntries(densities.weight, registry_[i].numel());
    stored += layout.stored(i);
  }
  return k < stored;
}

kernels::WeightSelection MaskSet::SelectionOf(int tensor, const Densities& densities,
                                              const model::Layout& layout) const {
  const model::TensorInfo& info = registry_[tensor];
  const Choice choice = ChoiceOf(tensor, densities, layout);
  return {info.rows, info.cols, choice.k, choice.min_alive, info.unit};
}

void MaskSet::BeginWriting(const Densities& densities, const model::Layout& layout) {
  for (int i = 0; i < registry_.size(); ++i) {
    Mask& mask = masks_[i];
    mask.scan.End();
    // Candidates that share a threshold are ranked together.
    if (layout.candidates(i) == nullptr || shares(i) || !WillMask(i, densities, layout)) continue;
    const int64_t stored = layout.stored(i);
    if (mask.all || mask.kept.size() < Words(stored)) continue;  // no guess to go by
    mask.scan.Begin(stored, mask.threshold, mask.kept.data());
  }
}

void MaskSet::Written(int tensor, int64_t begin, int64_t size, const model::Arena& weights) {
  masks_[tensor].scan.Read(weights.tensor(registry_[tensor]), begin, size);
}

void MaskSet::Update(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights) {
  UpdateTensors(densities, decay, pool, weights, [](int) { return true; });
}

void MaskSet::UpdateTensors(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights,
                            const std::function<bool(int)>& wanted) {
  const model::Layout& layout = weights.layout();
  std::vector<int> sharing;
  std::vector<Choice> choices, on_candidates;
  for (int i = 0; i < registry_.size(); ++i) {
    if (!masks_[i].sparsified || !wanted(i)) continue;
    if (shares(i)) {
      sharing.push_back(i);
    } else if (WillMask(i, densities, layout)) {
      choices.push_back(ChoiceOf(i, densities, layout));
    } else {
      Restore(i, nullptr, layout.stored(i), {});
    }
  }
  Share(sharing, densities, pool, weights, choices);
  for (const Choice& choice : choices) {
    Mask& mask = masks_[choice.tensor];
    mask.all = false;
    mask.nonzeros = choice.k;
    const size_t words = Words(layout.stored(choice.tensor));
    if (mask.kept.size() < words) mask.kept = kernels::Buffer<uint64_t>(words);
    if (layout.candidates(choice.tensor) != nullptr) {
      on_candidates.push_back(choice);
    } else {
      Select(choice, decay, pool, weights);
    }
  }
  SelectOnCandidates(std::move(on_candidates), decay, pool, weights);
}

// Adds what each of them keeps. One that keeps everything, or nothing, has a mask like the others.
void MaskSet::Share(const std::vector<int>& tensors, const Densities& densities, kernels::ThreadPool& pool,
                    const model::Arena& weights, std::vector<Choice>& choices) {
  const model::Layout& layout = weights.layout();
  std::vector<kernels::SharingMatrix> matrices;
  matrices.reserve(tensors.size());
  int64_t k = 0, stored = 0;
  for (const int i : tensors) {
    const model::TensorInfo& info = registry_[i];
    matrices.push_back({weights.tensor(info), info.rows, info.cols, layout.candidates(i),
                        ChoiceOf(i, densities, layout).min_alive, info.unit});
    k += KeptEntries(densities.weight, info.numel());
    stored += layout.stored(i);
  }
  if (k >= stored) {
    for (const int i : tensors) Restore(i, nullptr, layout.stored(i), {});
    return;
  }
  const std::vector<int64_t> shares = kernels::ShareEntries(matrices, k, &shared_threshold_, pool);
  for (size_t m = 0; m < tensors.size(); ++m) choices.push_back({tensors[m], shares[m], matrices[m].min_alive});
}

void MaskSet::Select(const Choice& choice, float decay, kernels::ThreadPool& pool, model::Arena& weights) {
  const model::TensorInfo& info = registry_[choice.tensor];
  Mask& mask = masks_[choice.tensor];
  float* w = weights.tensor(info);
  kernels::SelectWeights(w, {info.rows, info.cols, choice.k, choice.min_alive, info.unit}, &mask.threshold, pool,
                         mask.kept.data());
  kernels::ApplySelection(mask.kept.data(), info.numel(), info.decays ? decay : 1.0f, pool, w);
}

// The sets are small: a thread takes a whole one, the largest first.
void MaskSet::SelectOnCandidates(std::vector<Choice> choices, float decay, kernels::ThreadPool& pool,
                                 model::Arena& weights) {
  const model::Layout& layout = weights.layout();
  std::stable_sort(choices.begin(), choices.end(),
                   [&](const Choice& a, const Choice& b) { return layout.stored(a.tensor) > layout.stored(b.tensor); });
  pool.Run(std::ssize(choices), [&](int64_t task, int) {
    const auto& [tensor, k, min_alive] = choices[task];
    const model::TensorInfo& info = registry_[tensor];
    Mask& mask = masks_[tensor];
    float* w = weights.tensor(info);
    kernels::SelectCandidates(*layout.candidates(tensor), w, {k, min_alive, info.unit}, &mask.threshold,
                              mask.kept.data(), &mask.scan);
    mask.scan.End();
    kernels::ApplyCandidateSelection(mask.kept.data(), layout.stored(tensor), info.decays ? decay : 1.0f, w);
  });
}

void MaskSet::Apply(int tensor, const uint64_t* kept, float decay, kernels::ThreadPool& pool, model::Arena& weights) {
  const model::TensorInfo& info = registry_[tensor];
  Restore(tensor, kept, weights.layout().stored(tensor), masks_[tensor].threshold);
  if (kept == nullptr) return;
  kernels::ApplySelection(kept, weights.layout().stored(tensor), info.decays ? decay : 1.0f, pool,
                          weights.tensor(info));
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
