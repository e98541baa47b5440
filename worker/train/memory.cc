#include "worker/train/memory.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "worker/exchange/gradient_tree.h"
#include "worker/exchange/traffic.h"
#include "worker/model/layout.h"
#include "worker/model/registry.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/candidates.h"
#include "worker/train/ownership.h"
#include "worker/train/pass_memory.h"
#include "worker/train/rank_layout.h"

namespace filigree::train {
namespace {

constexpr int64_t kFloat = sizeof(float);

// Of a candidate, beside its values: its column in the layout; in kernels/candidates the column again, the row, the
// weight and where they came from.
constexpr int64_t kBytesOfSets = 2 + (2 + 2 + 4 + 4);
// What a refresh holds while it works: new columns, where they come from, and at most (threads share the matrices) a
// rank.
constexpr int64_t kBytesOfRefresh = 2 + 4 + 4;

constexpr char kFirstOfLayer[] = "attn.c_attn.weight";  // of the matrices that may have candidates

// What a step before a refresh holds of where newcomers of a matrix may lie (worker/train/evidence.cc); norms are
// small.
int64_t BytesOfEvidence(const config::Settings& settings, const model::TensorInfo& info, int64_t stored) {
  if (settings.sparsity.regime != config::Regime::kActive || !MayHaveCandidates(info)) return 0;
  if (settings.sparsity.refresh_every == 0) return 0;
  constexpr int64_t kVotes = 4 * sizeof(uint64_t);  // a candidate
  switch (settings.sparsity.newcomers) {
    case config::Newcomers::kVotes:
    case config::Newcomers::kProposals:
      return stored * kVotes;
    case config::Newcomers::kGradient:
      return info.numel() * kFloat;
    case config::Newcomers::kNorms:
    case config::Newcomers::kRandom:
      break;
  }
  return 0;
}

// What owners' weights take on their way, at the first step that has masks: later ones keep fewer.
int64_t BytesOfGatheredWeights(const config::Settings& settings, const model::Registry& registry,
                               const parallel::Grid& grid, int rank) {
  std::vector<exchange::OwnedMatrix> matrices =
      OwnedMatrices(settings, registry, OwnersIn(settings, registry, grid), /*s=*/0);
  for (exchange::OwnedMatrix& matrix : matrices) matrix.kept = std::min(matrix.kept, matrix.numel - 1);
  const OwningRanks owning = OwningRanksOf(grid, rank);
  return exchange::MemoryOfWeights(matrices, owning.rank, owning.size);
}

// Floats of what a rank updates itself: of its moments, and where ranks share the model of the whole gradient.
int64_t UpdatedFloats(const RankLayout& whole, const config::Settings& settings, const model::Registry& registry,
                      const parallel::Grid& grid, int rank) {
  const std::vector<bool> held = HeldBy(settings, registry, grid, rank);
  if (held.empty()) return whole.floats();
  int64_t floats = 0;
  for (int tensor = 0; tensor < registry.size(); ++tensor) floats += held[tensor] ? whole.stored(tensor) : 0;
  return floats;
}

// Parts of the gradient as they go to the ranks that share the model and come from them.
int64_t BytesOfGroupGradient(const model::ModelSpec& spec, const config::Settings& settings,
                             const model::Registry& registry, const parallel::Grid& grid, const model::Shard& shard) {
  const GroupGradient gradient = GroupGradientOf(spec, settings, shard, OwnersIn(settings, registry, grid));
  const auto sum = [](const std::vector<int64_t>& of) { return std::accumulate(of.begin(), of.end(), int64_t{0}); };
  const int64_t sent = std::max(gradient.for_all[shard.rank], sum(gradient.to_owners));
  return kFloat * (sent + std::max(sum(gradient.for_all), sum(gradient.from)));
}

std::string Text(int64_t bytes) { return fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9); }

// The rank that asks, and what it may use.
struct Place {
  int64_t available;
  parallel::Grid grid;
  int rank;
};

bool Fits(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  return MemoryOfRank(spec, settings, place.grid, place.rank).total() <= place.available;
}

// The same model cut to a narrower residual, its other widths in proportion.
model::ModelSpec Narrower(const model::ModelSpec& spec, int heads) {
  model::ModelSpec cut = spec;
  cut.n_head = heads;
  cut.d_model = heads * spec.d_head;
  cut.d_mlp = static_cast<int>(static_cast<int64_t>(spec.d_mlp) * cut.d_model / spec.d_model);
  return cut;
}

// Settings that need less: smaller shards where they are enough, else the widest model that fits.
std::string WhatFits(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  config::Settings other = settings;
  while (other.train.shards < settings.train.batch) {
    other.train.shards = std::min(2 * other.train.shards, settings.train.batch);
    if (Fits(spec, other, place)) return fmt::format("train.shards = {} would fit", other.train.shards);
  }
  other = settings;
  if (!spec.rounds()) {
    model::ModelSpec bf16 = spec;
    bf16.activation_storage = config::ActivationStorage::kBf16;
    if (Fits(bf16, other, place)) return "model.activation_storage = \"bf16\" would fit";
  }
  if (settings.sparsity.regime == config::Regime::kExact) {
    other.sparsity.regime = config::Regime::kActive;
    other.sparsity.density_start = std::min(settings.sparsity.density_start, 4 * settings.sparsity.density);
    other.sparsity.embedding_density_start =
        std::min(settings.sparsity.embedding_density_start, 4 * settings.sparsity.embedding_density);
    if (Fits(spec, other, place)) {
      return fmt::format(
          "sparsity.regime = \"active\" would fit if it starts sparse, with sparsity.density_start = {:.6g} "
          "and sparsity.embedding_density_start = {:.6g}",
          other.sparsity.density_start, other.sparsity.embedding_density_start);
    }
  }
  int heads = 0, too_many = spec.n_head;
  while (heads + 1 < too_many) {
    const int middle = (heads + too_many) / 2;
    (Fits(Narrower(spec, middle), settings, place) ? heads : too_many) = middle;
  }
  if (heads > 0) return fmt::format("model.d_model = {} would fit, its MLP in proportion", heads * spec.d_head);
  return "fewer layers, a shorter model.n_ctx and a smaller train.batch need less";
}

}  // namespace

RunMemory MemoryOfRun(const model::ModelSpec& spec, const config::Settings& settings) {
  return MemoryOfRank(spec, settings, parallel::Grid{}, 0);
}

RunMemory MemoryOfRank(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                       int rank) {
  const model::Shard shard{grid.tensor_rank(rank), grid.tensor};
  const model::Registry registry(spec);
  const model::Registry part(spec, shard);
  const RankLayout whole(registry, settings, registry), here(registry, settings, part);
  const parallel::LeafRange leaves = parallel::LeavesOf(settings.train.shards, grid.data_rank(rank), grid.data);
  const int64_t sequences = LargestShard(settings, leaves);
  RunMemory memory;
  memory.elements = whole.elements();
  int64_t largest_layer = 0, layer = 0, candidates_here = 0;  // whose gradients are formed at once
  for (const model::TensorInfo& info : registry.tensors()) {
    memory.candidates += whole.candidates(info.index);
    candidates_here += here.candidates(info.index);
    memory.sets += BytesOfEvidence(settings, info, whole.stored(info.index));
    layer = info.layer < 0 || info.kind == kFirstOfLayer ? 0 : layer;
    layer += info.index == registry.wte() ? 0 : here.candidates(info.index);
    largest_layer = std::max(largest_layer, layer);
  }
  const int64_t arena = here.floats() * kFloat, whole_arena = whole.floats() * kFloat;
  const int64_t updated = UpdatedFloats(whole, settings, registry, grid, rank) * kFloat;
  memory.sets += candidates_here * kBytesOfSets + largest_layer * sequences * kFloat;
  memory.refresh = memory.candidates * kBytesOfRefresh;
  memory.state = whole_arena + 2 * updated;
  memory.gradients = exchange::GradientTree::ArenasOf(leaves.begin, leaves.end) * arena;
  const PassMemory passes = MemoryOfPasses(spec, settings, grid, rank);
  memory.activations = passes.activations;
  memory.evaluation = passes.evaluation;
  memory.passed = passes.passed;
  if (grid.data > 1) {
    // Where ranks are and how many cores they have is not known here: "auto" may send all gradients at once.
    const int64_t bucket_bytes = settings.parallel.overlap == config::Overlap::kOn ? exchange::kBucketBytes : 0;
    memory.messages +=
        exchange::MemoryOfSum(SumOptionsOf(settings, part, grid, bucket_bytes),
                              GradientShapeOf(here, part, settings, spec.n_ctx), grid.data_rank(rank), grid.data);
  }
  if (grid.size() > 1) memory.messages += BytesOfGatheredWeights(settings, registry, grid, rank);
  if (shard.size > 1) {
    memory.copies = arena + updated;       // weights of the part; the gradient of what is updated here
    memory.sets += memory.candidates * 2;  // and the columns in its layout
    memory.messages += BytesOfGroupGradient(spec, settings, registry, grid, shard);
  }
  return memory;
}

absl::Status CheckMemory(const model::ModelSpec& spec, const config::Settings& settings, int64_t available,
                         const parallel::Grid& grid, int rank) {
  const RunMemory need = MemoryOfRank(spec, settings, grid, rank);
  if (need.total() <= available) return absl::OkStatus();
  const auto part = [](int64_t bytes, const char* of) {
    return bytes == 0 ? std::string() : fmt::format(", {} for {}", Text(bytes), of);
  };
  return absl::InvalidArgumentError(fmt::format(
      "the run needs at least {} of memory and this machine has {}{}: {} for weights and moments of {:.1f} M "
      "parameters, "
      "{} for gradients{}{}, {} for the activations of one of {} shards{}; {}",
      Text(need.total()), Text(available), grid.size() == 1 ? "" : " for each rank on it", Text(need.state),
      static_cast<double>(need.elements) / 1e6, Text(need.gradients), part(need.sets + need.refresh, "candidate sets"),
      part(need.copies + need.passed + need.messages, "what ranks exchange"), Text(need.activations),
      settings.train.shards, part(need.evaluation, "evaluations and samples"),
      WhatFits(spec, settings, {available, grid, rank})));
}

}  // namespace filigree::train
