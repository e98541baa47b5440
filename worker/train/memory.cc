#include "worker/train/memory.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <string>

#include "fmt/format.h"
#include "kernels/base/tile.h"
#include "worker/model/layout.h"
#include "worker/model/registry.h"
#include "worker/train/candidates.h"

namespace filigree::train {
namespace {

constexpr int64_t kFloat = sizeof(float);

// Of a candidate, beside its values: its column in the layout; in kernels/candidates the column again, the row, the
// weight and where they came from; what a refresh holds while it works.
constexpr int64_t kBytesOfSets = 2 + (2 + 2 + 4 + 4) + (2 + 4);

constexpr char kFirstOfLayer[] = "attn.c_attn.weight";  // of the matrices that may have candidates

// Floats a token that the passes of a shard remember (worker/model/activations.h).
int64_t FloatsPerToken(const model::ModelSpec& spec) {
  const int64_t D = spec.d_model, X = spec.input_width(), HK = spec.attention_width(), F = spec.d_mlp;
  const int64_t layer = 2 * D + 2 * X + 4 * HK + 2 * F + 2 * spec.n_head;
  const int64_t head = 2 * D + spec.vocab, backward = 3 * D + 3 * HK + F + spec.d_pos_emb;
  return spec.n_layer * layer + head + backward;
}

// What a step before a refresh holds of where newcomers of a matrix may lie (worker/train/evidence.cc); norms are
// small.
int64_t BytesOfEvidence(const config::Settings& settings, const model::TensorInfo& info, int64_t stored) {
  if (settings.sparsity.regime != config::Regime::kActive || !MayHaveCandidates(info)) return 0;
  if (settings.sparsity.refresh_every == 0) return 0;
  constexpr int64_t kVotes = 4 * sizeof(uint64_t);  // a candidate
  switch (settings.sparsity.newcomers) {
    case config::Newcomers::kVotes:
      return stored * kVotes;
    case config::Newcomers::kGradient:
      return info.numel() * kFloat;
    case config::Newcomers::kNorms:
    case config::Newcomers::kRandom:
      break;
  }
  return 0;
}

std::string Text(int64_t bytes) { return fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9); }

bool Fits(const model::ModelSpec& spec, const config::Settings& settings, int64_t available) {
  return MemoryOfRun(spec, settings).total() <= available;
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
std::string WhatFits(const model::ModelSpec& spec, const config::Settings& settings, int64_t available) {
  config::Settings other = settings;
  while (other.train.shards < settings.train.batch) {
    other.train.shards = std::min(2 * other.train.shards, settings.train.batch);
    if (Fits(spec, other, available)) return fmt::format("train.shards = {} would fit", other.train.shards);
  }
  other = settings;
  if (settings.sparsity.regime == config::Regime::kExact) {
    other.sparsity.regime = config::Regime::kActive;
    other.sparsity.density_start = std::min(settings.sparsity.density_start, 4 * settings.sparsity.density);
    other.sparsity.embedding_density_start =
        std::min(settings.sparsity.embedding_density_start, 4 * settings.sparsity.embedding_density);
    if (Fits(spec, other, available)) {
      return fmt::format(
          "sparsity.regime = \"active\" would fit if it starts sparse, with sparsity.density_start = {:.6g} "
          "and sparsity.embedding_density_start = {:.6g}",
          other.sparsity.density_start, other.sparsity.embedding_density_start);
    }
  }
  int heads = 0, too_many = spec.n_head;
  while (heads + 1 < too_many) {
    const int middle = (heads + too_many) / 2;
    (Fits(Narrower(spec, middle), settings, available) ? heads : too_many) = middle;
  }
  if (heads > 0) return fmt::format("model.d_model = {} would fit, its MLP in proportion", heads * spec.d_head);
  return "fewer layers, a shorter model.n_ctx and a smaller train.batch need less";
}

// A limit file of a control group; no limit: a number beyond any memory.
int64_t LimitIn(const char* path) {
  int64_t bytes = 0;
  std::ifstream file(path);
  return file >> bytes && bytes > 0 ? bytes : INT64_MAX;
}

}  // namespace

RunMemory MemoryOfRun(const model::ModelSpec& spec, const config::Settings& settings) {
  const config::TrainSettings& train = settings.train;
  const model::Registry registry(spec);
  RunMemory memory;
  const int64_t sequences = (train.batch + train.shards - 1) / train.shards;
  int64_t floats = 0, largest_layer = 0, layer = 0;  // candidates whose gradients are formed at once
  for (const model::TensorInfo& info : registry.tensors()) {
    const int64_t candidates = FirstCandidates(settings, info);
    const int64_t stored = candidates > 0 ? candidates : info.numel();
    memory.elements += stored;
    memory.candidates += candidates;
    floats += (stored + 15) / 16 * 16;
    memory.sets += BytesOfEvidence(settings, info, stored);
    layer = info.layer < 0 || info.kind == kFirstOfLayer ? 0 : layer;
    layer += info.index == registry.wte() ? 0 : candidates;
    largest_layer = std::max(largest_layer, layer);
  }
  const int64_t arena = floats * kFloat;
  memory.sets += memory.candidates * kBytesOfSets + largest_layer * sequences * kFloat;
  memory.state = 3 * arena;
  // As GradientTree: floor(log2(shards + 1)).
  memory.gradients = (std::bit_width(static_cast<uint64_t>(train.shards) + 1) - 1) * arena;
  const int64_t tokens = sequences * kernels::TilesOf(spec.n_ctx) * kernels::kTileTokens;
  memory.activations = tokens * FloatsPerToken(spec) * kFloat;
  return memory;
}

int64_t MachineMemory() {
  const int64_t machine = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return std::min(
      {machine, LimitIn("/sys/fs/cgroup/memory.max"), LimitIn("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

absl::Status CheckMemory(const model::ModelSpec& spec, const config::Settings& settings, int64_t available) {
  const RunMemory need = MemoryOfRun(spec, settings);
  if (need.total() <= available) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "the run needs at least {} of memory and this machine has {}: {} for weights and moments of {:.1f} M parameters, "
      "{} for gradients{}, {} for the activations of one of {} shards; {}",
      Text(need.total()), Text(available), Text(need.state), static_cast<double>(need.elements) / 1e6,
      Text(need.gradients), need.sets == 0 ? "" : fmt::format(", {} for candidate sets", Text(need.sets)),
      Text(need.activations), settings.train.shards, WhatFits(spec, settings, available)));
}

}  // namespace filigree::train
