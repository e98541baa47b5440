// Whether a run fits, and what would fit where it does not: only settings that may be given then.

#include <algorithm>
#include <optional>
#include <string>

#include "fmt/format.h"
#include "worker/config/keys.h"
#include "worker/train/memory.h"

namespace filigree::train {
namespace {

std::string Text(int64_t bytes) { return fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9); }

// The rank that asks, the step it goes on with, and what it may use.
struct Place {
  int64_t available;
  parallel::Grid grid;
  int rank;
  int64_t from;
};

bool Fits(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  return MemoryOfRank(spec, settings, place.grid, place.rank, place.from).total() <= place.available;
}

// The same model cut to a narrower residual, its other widths in proportion.
model::ModelSpec Narrower(const model::ModelSpec& spec, int heads) {
  model::ModelSpec cut = spec;
  cut.n_head = heads;
  cut.d_model = heads * spec.d_head;
  cut.d_mlp = static_cast<int>(static_cast<int64_t>(spec.d_mlp) * cut.d_model / spec.d_model);
  return cut;
}

using Advice = std::optional<std::string>;

// More, smaller shards: as many as there may be.
Advice MoreShards(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  const int64_t possible = std::get<config::IntField>(config::FindKey("train.shards")->field).high;
  const int64_t most = std::min(settings.train.batch, possible);
  config::Settings other = settings;
  while (other.train.shards < most) {
    other.train.shards = std::min(2 * other.train.shards, most);
    if (Fits(spec, other, place)) return fmt::format("train.shards = {} would fit", other.train.shards);
  }
  return std::nullopt;
}

Advice RoundedActivations(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  model::ModelSpec bf16 = spec;
  bf16.activation_storage = config::ActivationStorage::kBf16;
  if (spec.rounds() || !Fits(bf16, settings, place)) return std::nullopt;
  return "model.activation_storage = \"bf16\" would fit";
}

// Going on, a run keeps the densities that it began with.
Advice ActiveRegime(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  if (settings.sparsity.regime != config::Regime::kExact) return std::nullopt;
  config::Settings other = settings;
  other.sparsity.regime = config::Regime::kActive;
  if (place.from > 0) {
    if (!Fits(spec, other, place)) return std::nullopt;
    return "sparsity.regime = \"active\" would fit";
  }
  const config::SparsitySettings& s = settings.sparsity;
  other.sparsity.density_start = std::min(s.density_start, 4 * s.density);
  other.sparsity.embedding_density_start = std::min(s.embedding_density_start, 4 * s.embedding_density);
  if (!Fits(spec, other, place)) return std::nullopt;
  return fmt::format(
      "sparsity.regime = \"active\" would fit if it starts sparse, with sparsity.density_start = {:.6g} and "
      "sparsity.embedding_density_start = {:.6g}",
      other.sparsity.density_start, other.sparsity.embedding_density_start);
}

// The widest model that fits. Its heads go to the groups of the model evenly.
Advice NarrowerModel(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  const int groups = spec.tensor_groups;
  int each = 0, too_many = spec.n_head / groups;  // heads of a group
  while (each + 1 < too_many) {
    const int middle = (each + too_many) / 2;
    (Fits(Narrower(spec, middle * groups), settings, place) ? each : too_many) = middle;
  }
  if (each == 0) return std::nullopt;
  return fmt::format("model.d_model = {} would fit, its MLP in proportion", each * groups * spec.d_head);
}

Advice NoEvaluations(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  config::Settings other = settings;
  other.eval.every = other.sample.every = 0;
  if (!Fits(spec, other, place)) return std::nullopt;
  return "eval.every = 0 and sample.every = 0 would fit, and filigree eval makes up for it";
}

// The first that fits of what may be changed; a run that goes on may not change what it computes.
std::string WhatFits(const model::ModelSpec& spec, const config::Settings& settings, const Place& place) {
  const bool begins = place.from == 0;
  Advice advice = begins ? MoreShards(spec, settings, place) : NoEvaluations(spec, settings, place);
  if (!advice) advice = RoundedActivations(spec, settings, place);
  if (!advice) advice = ActiveRegime(spec, settings, place);
  if (!advice && begins) advice = NarrowerModel(spec, settings, place);
  if (advice) return *advice;
  if (begins) return "fewer layers, a shorter model.n_ctx and a smaller train.batch need less";
  return spec.tensor_groups > place.grid.tensor
             ? "a run that goes on takes more ranks that share the model (parallel.tensor), or a machine with more"
             : "a run that goes on takes a machine with more";
}

}  // namespace

absl::Status CheckMemory(const model::ModelSpec& spec, const config::Settings& settings, int64_t available,
                         const parallel::Grid& grid, int rank, int64_t from) {
  const RunMemory need = MemoryOfRank(spec, settings, grid, rank, from);
  if (need.total() <= available) return absl::OkStatus();
  const auto part = [](int64_t bytes, const char* of) {
    return bytes == 0 ? std::string() : fmt::format(", {} for {}", Text(bytes), of);
  };
  return absl::InvalidArgumentError(fmt::format(
      "the run needs at least {} of memory{} and this machine has {}{}: {} for weights and moments of {:.1f} M "
      "parameters, {} for gradients{}{}{}, {} for the activations of one of {} shards{}; {}",
      Text(need.total()), need.step == from ? "" : fmt::format(" at step {}", need.step), Text(available),
      grid.size() == 1 ? "" : " for each rank on it", Text(need.state), static_cast<double>(need.elements) / 1e6,
      Text(need.gradients), part(need.sets + need.refresh, "candidate sets"),
      part(need.masks, "masks and compressed matrices"),
      part(need.copies + need.passed + need.messages, "what ranks exchange"), Text(need.activations + need.scratch),
      settings.train.shards, part(need.evaluation, "evaluations and samples"),
      WhatFits(spec, settings, {available, grid, rank, from})));
}

}  // namespace filigree::train
