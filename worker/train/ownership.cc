#include "worker/train/ownership.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "worker/exchange/candidate_sets.h"
#include "worker/exchange/owners.h"
#include "worker/exchange/surviving_weights.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/optim/blocks.h"
#include "worker/train/candidates.h"

namespace filigree::train {
namespace {

// A copy, which the gathering overwrites. Null: none, another rank has it.
kernels::Buffer<uint64_t> BitmapOf(const uint64_t* kept, int64_t entries) {
  kernels::Buffer<uint64_t> bitmap(static_cast<size_t>((entries + 63) / 64));
  if (kept != nullptr) std::copy_n(kept, bitmap.size(), bitmap.data());
  return bitmap;
}

// As the first step has it stored.
exchange::OwnedMatrix OwnedAt(const config::Settings& settings, const mask::Densities& f, const model::TensorInfo& info,
                              int owner) {
  const double density = info.density == model::Density::kEmbedding ? f.embedding : f.weight;
  const int64_t candidates = FirstCandidates(settings, info), stored = candidates > 0 ? candidates : info.numel();
  return {owner, stored, std::min(stored, mask::KeptEntries(density, info.numel()))};
}

// All that is stored of a matrix is its owner's part: candidates count as one row.
exchange::SurvivingMatrix MatrixOf(int64_t stored, int owner, int ranks, float* weights, uint64_t* kept) {
  exchange::SurvivingMatrix matrix{1, stored, {}, kept};
  matrix.parts.resize(ranks);
  matrix.parts[owner].push_back({{0, 1, 0, stored}, weights, stored});
  return matrix;
}

}  // namespace

std::vector<int> OwnersIn(const config::Settings& settings, const model::Registry& registry,
                          const parallel::Grid& grid) {
  const bool exact = settings.sparsity.regime == config::Regime::kExact;
  if (grid.tensor > 1) {
    const bool divided = exact || settings.sparsity.scope == config::MaskScope::kMatrix;
    return divided ? exchange::OwnersOf(registry, grid.tensor) : std::vector<int>();
  }
  const bool divided = exact && settings.parallel.exchange == config::Exchange::kTree && grid.data > 1;
  return divided ? exchange::OwnersOf(registry, grid.data) : std::vector<int>();
}

OwningRanks OwningRanksOf(const parallel::Grid& grid, int rank) {
  if (grid.tensor > 1) return {grid.tensor_rank(rank), grid.tensor};
  return {grid.data_rank(rank), grid.data};
}

std::vector<bool> HeldBy(const config::Settings& settings, const model::Registry& registry, const parallel::Grid& grid,
                         int rank) {
  const int owning = OwningRanksOf(grid, rank).rank;
  const std::vector<int> owners = OwnersIn(settings, registry, grid);
  std::vector<bool> held(owners.size());
  for (size_t t = 0; t < owners.size(); ++t) held[t] = owners[t] < 0 || owners[t] == owning;
  return held;
}

std::vector<int> WritersOf(const std::vector<int>& owners, const parallel::Grid& grid) {
  std::vector<int> writers = owners;
  for (size_t tensor = 0; grid.tensor > 1 && tensor < owners.size(); ++tensor) {
    if (owners[tensor] < 0) continue;
    writers[tensor] = static_cast<int>(tensor % static_cast<size_t>(grid.data)) * grid.tensor + owners[tensor];
  }
  return writers;
}

std::vector<exchange::OwnedMatrix> OwnedMatrices(const config::Settings& settings, const model::Registry& registry,
                                                 const std::vector<int>& owners, int64_t s) {
  const mask::Densities f = mask::DensitiesAt(settings.sparsity, settings.run.steps, s);
  std::vector<exchange::OwnedMatrix> matrices;
  for (size_t tensor = 0; tensor < owners.size(); ++tensor) {
    if (owners[tensor] >= 0)
      matrices.push_back(OwnedAt(settings, f, registry[static_cast<int>(tensor)], owners[tensor]));
  }
  return matrices;
}

std::vector<exchange::OwnedMatrix> SharingMatrices(const config::Settings& settings, const model::Registry& registry,
                                                   const std::vector<int>& owners, int64_t s) {
  if (settings.sparsity.scope != config::MaskScope::kGlobal) return {};
  const mask::Densities f = mask::DensitiesAt(settings.sparsity, settings.run.steps, s);
  std::vector<exchange::OwnedMatrix> matrices;
  bool masked = false;
  for (size_t tensor = 0; tensor < owners.size(); ++tensor) {
    const model::TensorInfo& info = registry[static_cast<int>(tensor)];
    if (owners[tensor] < 0 || info.density != model::Density::kWeight) continue;
    matrices.push_back(OwnedAt(settings, f, info, owners[tensor]));
    masked = masked || matrices.back().kept < info.numel();
  }
  return masked ? matrices : std::vector<exchange::OwnedMatrix>();
}

Ownership::Ownership(std::vector<int> owners, comm::Communicator& ranks, parallel::Progress* progress)
    : owners_(std::move(owners)), ranks_(&ranks), progress_(progress) {
  for (const int owner : owners_) CHECK(owner < ranks.size(), "owner {} among {} ranks", owner, ranks.size());
}

absl::StatusOr<optim::GradientSize> Ownership::Measure(const model::Arena& gradient, kernels::ThreadPool& pool) const {
  std::vector<double> sums =
      optim::BlockSums(gradient, pool, [this](int tensor) { return owners_.empty() || measurer(tensor) == rank(); });
  if (!owners_.empty()) {
    if (absl::Status status = GatherBlockSums(gradient.layout(), sums); !status.ok()) return status;
  }
  return optim::SizeOf(sums, gradient.layout());
}

// Sums of blocks, by who has measured them, each in the order of blocks.
absl::Status Ownership::GatherBlockSums(const model::Layout& layout, std::vector<double>& sums) const {
  const std::vector<optim::Block> blocks = optim::BlocksOf(layout);
  std::vector<std::vector<size_t>> owned(ranks_->size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    owned[measurer(blocks[b].tensor)].push_back(b);
  }
  std::vector<int64_t> counts;
  counts.reserve(owned.size());
  for (const std::vector<size_t>& of : owned) counts.push_back(std::ssize(of));
  std::vector<double> mine, all(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  mine.reserve(owned[ranks_->rank()].size());
  for (const size_t b : owned[ranks_->rank()]) mine.push_back(sums[b]);
  std::optional<parallel::Progress::Waiting> waiting;
  if (progress_ != nullptr) waiting.emplace(*progress_);
  ranks_->Name("sizes of the owners' gradients");
  absl::Status status =
      ranks_->AllGather(comm::ArrayOf(std::span<const double>(mine)), counts, comm::ArrayOf(std::span<double>(all)));
  if (!status.ok()) return status;
  size_t next = 0;
  for (const std::vector<size_t>& of : owned) {
    for (const size_t b : of) sums[b] = all[next++];
  }
  return absl::OkStatus();
}

absl::Status Ownership::ChooseMasks(const mask::Densities& f, float decay, kernels::ThreadPool& pool,
                                    model::Arena& weights, mask::MaskSet& masks) {
  std::vector<int> together;
  for (int tensor = 0; tensor < std::ssize(owners_); ++tensor) {
    if (owners_[tensor] >= 0 && masks.shares(tensor)) together.push_back(tensor);
  }
  const auto alone = [&](int tensor) { return Updates(tensor) && (owner(tensor) < 0 || !masks.shares(tensor)); };
  masks.UpdateTensors(f, decay, pool, weights, alone);
  return together.empty() ? absl::OkStatus() : ChooseTogether(together, f, decay, pool, weights, masks);
}

// All that share a threshold have a mask, or none has.
absl::Status Ownership::ChooseTogether(const std::vector<int>& tensors, const mask::Densities& f, float decay,
                                       kernels::ThreadPool& pool, model::Arena& weights, mask::MaskSet& masks) {
  const bool masked = masks.WillMask(tensors.front(), f, weights.layout());
  std::vector<kernels::Buffer<uint64_t>> kept(tensors.size());
  std::vector<exchange::MatrixPart> parts(tensors.size());
  std::vector<exchange::ShardedMatrix> matrices(masked ? tensors.size() : 0);
  for (size_t i = 0; i < matrices.size(); ++i) {
    const kernels::WeightSelection selection = masks.SelectionOf(tensors[i], f, weights.layout());
    const int64_t offset = weights.layout().offset(tensors[i]), numel = selection.rows * selection.cols;
    kept[i] = kernels::Buffer<uint64_t>(static_cast<size_t>((numel + 63) / 64));
    parts[i] = {{0, selection.rows, 0, selection.cols}, weights.data() + offset, selection.cols};
    matrices[i] = {selection, {parts.data() + i, Updates(tensors[i]) ? size_t{1} : size_t{0}}, kept[i].data()};
  }
  if (masked) {
    std::optional<parallel::Progress::Waiting> waiting;
    if (progress_ != nullptr) waiting.emplace(*progress_);
    ranks_->Name("the threshold of all matrices");
    if (select_ == nullptr) {
      select_ = std::make_unique<exchange::DistributedSelect>(*ranks_, exchange::SelectScope::kGlobal, pool);
    }
    if (absl::Status status = select_->Select(matrices); !status.ok()) return status;
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (Updates(tensors[i])) masks.Apply(tensors[i], masked ? kept[i].data() : nullptr, decay, pool, weights);
  }
  return absl::OkStatus();
}

absl::Status Ownership::GatherWeights(const mask::Densities& f, const model::Registry& registry,
                                      kernels::ThreadPool& pool, model::Arena& weights, mask::MaskSet& masks) const {
  if (owners_.empty()) return absl::OkStatus();
  std::optional<parallel::Progress::Waiting> waiting;
  if (progress_ != nullptr) waiting.emplace(*progress_);
  ranks_->Name("weights of the owners");
  std::vector<int> masked;
  for (int tensor = 0; tensor < registry.size(); ++tensor) {
    if (owner(tensor) < 0) continue;
    if (masks.WillMask(tensor, f, weights.layout())) {
      masked.push_back(tensor);
      continue;
    }
    if (absl::Status status = GatherWhole(tensor, weights); !status.ok()) return status;
    if (!Updates(tensor)) masks.Restore(tensor, nullptr, weights.layout().stored(tensor), {});
  }
  return masked.empty() ? absl::OkStatus() : GatherMasked(masked, registry, pool, weights, masks);
}

absl::Status Ownership::GatherArena(model::Arena& arena) const {
  for (int tensor = 0; tensor < std::ssize(owners_); ++tensor) {
    if (owners_[tensor] < 0) continue;
    if (absl::Status status = GatherWhole(tensor, arena); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// A matrix without a mask goes where it lies: a list would only be longer.
absl::Status Ownership::GatherWhole(int tensor, model::Arena& weights) const {
  const auto stored = static_cast<size_t>(weights.layout().stored(tensor));
  const std::span<float> values(weights.data() + weights.layout().offset(tensor), stored);
  std::vector<int64_t> counts(ranks_->size());
  counts[owners_[tensor]] = static_cast<int64_t>(stored);
  const std::span<const float> mine = Updates(tensor) ? std::span<const float>(values) : std::span<const float>();
  return ranks_->AllGather(comm::ArrayOf(mine), counts, comm::ArrayOf(values));
}

absl::Status Ownership::GatherMasked(const std::vector<int>& tensors, const model::Registry& registry,
                                     kernels::ThreadPool& pool, model::Arena& weights, mask::MaskSet& masks) const {
  std::vector<kernels::Buffer<uint64_t>> bitmaps;
  std::vector<exchange::SurvivingMatrix> matrices;
  bitmaps.reserve(tensors.size());
  matrices.reserve(tensors.size());
  for (const int tensor : tensors) {
    const int64_t stored = weights.layout().stored(tensor);
    bitmaps.push_back(BitmapOf(Updates(tensor) ? masks.kept(tensor) : nullptr, stored));
    matrices.push_back(
        MatrixOf(stored, owner(tensor), ranks_->size(), weights.tensor(registry[tensor]), bitmaps.back().data()));
  }
  if (absl::Status status = exchange::GatherSurvivingWeights(*ranks_, matrices, pool); !status.ok()) return status;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int tensor = tensors[i];
    if (Updates(tensor)) continue;
    masks.Restore(tensor, bitmaps[i].data(), weights.layout().stored(tensor), masks.threshold(tensor));
  }
  return absl::OkStatus();
}

absl::Status Ownership::GatherCandidates(std::span<const NewSet> sets, const model::Registry& registry,
                                         kernels::ThreadPool& pool) const {
  std::vector<exchange::OwnedSet> owned;
  for (const NewSet& set : sets) {
    const model::TensorInfo& info = registry[set.tensor];
    if (owner(set.tensor) < 0) continue;
    owned.push_back(
        {owner(set.tensor), static_cast<int>(info.rows), static_cast<int>(info.cols), set.entries, set.pattern});
  }
  if (owned.empty()) return absl::OkStatus();
  std::optional<parallel::Progress::Waiting> waiting;
  if (progress_ != nullptr) waiting.emplace(*progress_);
  ranks_->Name("new candidates of the owners");
  return exchange::GatherCandidateSets(*ranks_, owned, pool);
}

}  // namespace filigree::train
