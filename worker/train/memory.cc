#include "worker/train/memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "worker/exchange/gradient_tree.h"
#include "worker/exchange/traffic.h"
#include "worker/model/linear.h"
#include "worker/model/registry.h"
#include "worker/parallel/threads.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/candidates.h"
#include "worker/train/ownership.h"
#include "worker/train/pass_memory.h"
#include "worker/train/rank_layout.h"
#include "worker/train/refresh_memory.h"

namespace filigree::train {
namespace {

constexpr int64_t kFloat = sizeof(float);

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

// What owners' weights take on their way in step s, with masks.
int64_t BytesOfGatheredWeights(const config::Settings& settings, const model::Registry& registry,
                               const parallel::Grid& grid, int rank, int64_t s) {
  std::vector<exchange::OwnedMatrix> matrices =
      OwnedMatrices(settings, registry, OwnersIn(settings, registry, grid), s);
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
                             const model::Registry& registry, const parallel::Grid& grid, const model::Shard& shard,
                             int64_t s) {
  const GroupGradient gradient = GroupGradientOf(spec, settings, shard, OwnersIn(settings, registry, grid), s);
  const auto sum = [](const std::vector<int64_t>& of) { return std::accumulate(of.begin(), of.end(), int64_t{0}); };
  const int64_t sent = std::max(gradient.for_all[shard.rank], sum(gradient.to_owners));
  return kFloat * (sent + std::max(sum(gradient.for_all), sum(gradient.from)));
}

// Entries of the layer with the most candidates: their gradients are formed at once.
int64_t LargestLayer(const model::Registry& registry, const RankLayout& here) {
  int64_t largest = 0, layer = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    layer = info.layer < 0 || info.kind == kFirstOfLayer ? 0 : layer;
    layer += info.index == registry.wte() ? 0 : here.candidates(info.index);
    largest = std::max(largest, layer);
  }
  return largest;
}

// Is a shard's gradient added to another's where that stands?
bool AddsShards(const parallel::LeafRange& leaves) { return (leaves.begin + 1) / 2 * 2 + 1 < leaves.end; }

// One rank, step by step, in ascending order: what a step has grown stays.
class Forecast {
 public:
  Forecast(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid, int rank)
      : spec_(spec),
        settings_(settings),
        grid_(grid),
        rank_(rank),
        threads_(parallel::ThreadsOfRank(settings.run, grid.size())),
        shard_{grid.tensor_rank(rank), grid.tensor},
        registry_(spec),
        part_(spec, shard_),
        leaves_(parallel::LeavesOf(settings.train.shards, grid.data_rank(rank), grid.data)),
        passes_(MemoryOfPasses(spec, settings, grid, rank)),
        forms_(part_.size()) {}

  RunMemory Of(int64_t s) {
    const RankLayout whole(registry_, settings_, registry_, s), here(registry_, settings_, part_, s);
    RunMemory memory;
    memory.step = s;
    memory.elements = whole.elements();
    for (int t = 0; t < registry_.size(); ++t) memory.candidates += whole.candidates(t);
    memory.activations = passes_.activations;
    memory.evaluation = passes_.evaluation;
    memory.passed = passes_.passed;
    AddState(whole, here, memory);
    AddMatrices(s, whole, here, memory);
    AddExchange(s, here, memory);
    if (RefreshDue(settings_, s)) {
      const RankLayout next(registry_, settings_, registry_, s + 1);
      memory.refresh = MemoryOfRefresh(registry_, whole, next, threads_);
    }
    return memory;
  }

  const model::Registry& registry() const { return registry_; }

 private:
  void AddState(const RankLayout& whole, const RankLayout& here, RunMemory& memory) {
    const int64_t updated = UpdatedFloats(whole, settings_, registry_, grid_, rank_) * kFloat;
    memory.state = whole.floats() * kFloat + 2 * updated;
    // As worker/exchange/gradient_tree.h: arenas of an earlier layout serve on unless they are much too large.
    if (arena_ < here.floats() || arena_ > 2 * here.floats()) arena_ = here.floats();
    memory.gradients = exchange::GradientTree::ArenasOf(leaves_.begin, leaves_.end) * arena_ * kFloat;
    if (AddsShards(leaves_)) {
      for (const int t : {part_.wte(), part_.wpe(), part_.bigram()}) {
        if (t >= 0) table_ = std::max(table_, here.stored(t));
      }
    }
    memory.scratch = passes_.scratch + table_ * kFloat;
    if (shard_.size > 1)
      memory.copies = here.floats() * kFloat + updated;  // weights of the part; the gradient of what
                                                         // is updated here
  }

  // What matrices take beside their values: positions, bits, and the forms they are computed in.
  void AddMatrices(int64_t s, const RankLayout& whole, const RankLayout& here, RunMemory& memory) {
    constexpr int64_t kColumn = 2, kOffset = 4;
    for (const model::TensorInfo& info : registry_.tensors()) {
      const int t = info.index;
      memory.sets += BytesOfEvidence(settings_, info, whole.stored(t));
      if (!MayHaveCandidates(info)) continue;
      const bool shares = shard_.size > 1, on_candidates = here.candidates(t) > 0;
      const int64_t kept = std::min(KeptAfter(settings_, info, s), whole.stored(t));
      if (on_candidates) memory.sets += (whole.candidates(t) + (shares ? here.candidates(t) : 0)) * kColumn;
      if (on_candidates) memory.sets += (info.rows + 1 + (shares ? part_[t].rows + 1 : 0)) * kOffset;
      if (kept < whole.stored(t)) memory.masks += (whole.stored(t) + (shares ? here.stored(t) : 0)) / 8;
      if (t == registry_.wte()) continue;  // read where it is
      const double share = static_cast<double>(part_[t].numel()) / static_cast<double>(info.numel());
      const Form now = {on_candidates,
                        model::Linear::BytesOf(part_[t].rows, part_[t].cols, here.candidates(t),
                                               std::llround(static_cast<double>(kept) * share), threads_)};
      if (forms_[t].on_candidates != on_candidates || forms_[t].bytes < now.bytes) forms_[t] = now;
      (on_candidates ? memory.sets : memory.masks) += forms_[t].bytes;
    }
    partials_ = std::max(partials_, LargestLayer(registry_, here) * LargestShard(settings_, leaves_));
    memory.sets += partials_ * kFloat;
  }

  void AddExchange(int64_t s, const RankLayout& here, RunMemory& memory) {
    if (grid_.data > 1) {
      // Where ranks are and how many cores they have is not known here: "auto" may send all gradients at once.
      const int64_t bucket_bytes = settings_.parallel.overlap == config::Overlap::kOn ? exchange::kBucketBytes : 0;
      memory.messages += exchange::MemoryOfSum(SumOptionsOf(settings_, part_, grid_, bucket_bytes),
                                               GradientShapeOf(here, part_, settings_, spec_.n_ctx),
                                               grid_.data_rank(rank_), grid_.data);
    }
    if (grid_.size() > 1) memory.messages += BytesOfGatheredWeights(settings_, registry_, grid_, rank_, s);
    if (shard_.size > 1) memory.messages += BytesOfGroupGradient(spec_, settings_, registry_, grid_, shard_, s);
  }

  // The form that a matrix is computed in.
  struct Form {
    bool on_candidates = false;
    int64_t bytes = 0;
  };

  const model::ModelSpec& spec_;
  const config::Settings& settings_;
  const parallel::Grid& grid_;
  const int rank_, threads_;
  const model::Shard shard_;
  const model::Registry registry_, part_;  // of the whole, and of what is here
  const parallel::LeafRange leaves_;
  const PassMemory passes_;
  std::vector<Form> forms_;
  int64_t arena_ = 0, table_ = 0, partials_ = 0;  // floats
};

}  // namespace

RunMemory MemoryOfRun(const model::ModelSpec& spec, const config::Settings& settings, int64_t from) {
  return MemoryOfRank(spec, settings, parallel::Grid{}, 0, from);
}

RunMemory MemoryOfRank(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                       int rank, int64_t from) {
  Forecast forecast(spec, settings, grid, rank);
  RunMemory most;
  for (const int64_t s : StepsOfMostMemory(settings, forecast.registry(), from)) {
    const RunMemory memory = forecast.Of(s);
    if (memory.total() > most.total()) most = memory;
  }
  return most;
}

}  // namespace filigree::train
