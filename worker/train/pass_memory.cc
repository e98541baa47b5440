#include "worker/train/pass_memory.h"

#include <algorithm>

#include "kernels/base/tile.h"
#include "worker/model/network.h"
#include "worker/parallel/threads.h"
#include "worker/train/evaluate.h"
#include "worker/train/rank_layout.h"

namespace filigree::train {
namespace {

constexpr int64_t kFloat = sizeof(float), kBf16 = 2;

int64_t TokensOf(const model::ModelSpec& spec, int64_t sequences) {
  return sequences * kernels::TilesOf(spec.n_ctx) * kernels::kTileTokens;
}

// Bytes a token that the passes of a shard remember (worker/model/activations.h), of which residuals lie with the
// owners of tiles. here: the dimensions of one of so many ranks. Where layers are kept as bf16, ranks that share the
// model compute in one more layer of floats.
int64_t BytesPerToken(const model::ModelSpec& here, int ranks) {
  const int64_t D = here.d_model, X = here.input_width(), HK = here.attention_width(), F = here.d_mlp;
  const int64_t residuals = here.n_layer * 2 * D + D, values = 2 * X + 4 * HK + 2 * F, stats = 2 * here.n_head;
  const int64_t head = D + here.vocab, backward = 3 * D + 3 * HK + F + here.d_pos_emb;
  const int64_t layers = here.n_layer * (values * (here.rounds() ? kBf16 : kFloat) + stats * kFloat);
  const int64_t working = here.rounds() && ranks > 1 ? values * kFloat : 0;
  return (residuals / ranks + head + backward) * kFloat + layers + working;
}

// Bytes a token of a pass that keeps nothing: two layers in turn, as floats, and the head.
int64_t BytesPerEvaluatedToken(const model::ModelSpec& here, int ranks) {
  const int64_t D = here.d_model, X = here.input_width(), HK = here.attention_width(), F = here.d_mlp;
  const int64_t layers = std::min(here.n_layer, 2), residuals = layers * 2 * D + D;
  const int64_t layer = 2 * X + 4 * HK + 2 * F + 2 * here.n_head;
  return kFloat * (residuals / ranks + layers * layer + D + here.vocab);
}

// Of evaluations, or of samples where there are none: threads are what this machine would give a rank if all were here.
int64_t BytesOfEvaluation(const model::ModelSpec& spec, const model::ModelSpec& here, const config::Settings& settings,
                          const parallel::Grid& grid, int rank) {
  int64_t sequences = settings.sample.every > 0 ? 1 : 0;
  if (settings.eval.every > 0) sequences = kEvaluatedTogether;  // the last evaluation is over the whole split
  const int threads = parallel::ThreadsOfRank(settings.run, grid.size());
  const int64_t at_once = model::SequencesAtOnce(threads, static_cast<int>(sequences), grid.tensor > 1,
                                                 SequencesEvaluatedAtOnce(spec, settings, grid, rank));
  return std::min(at_once, sequences) * TokensOf(spec, 1) * BytesPerEvaluatedToken(here, grid.tensor);
}

// What a thread works in (worker/model/backward.h): a tile of inputs and of positions, a sequence of attention's
// gradient; where layers are kept as bf16 also a head of a sequence, and, but for ranks that share the model, a layer
// as floats.
int64_t ScratchOfThread(const model::ModelSpec& spec, const model::ModelSpec& here, int ranks) {
  const int64_t X = here.input_width(), HK = here.attention_width(), F = here.d_mlp;
  const int64_t sequence = TokensOf(spec, 1), tile = kernels::kTileTokens;
  int64_t floats = tile * (X + here.d_pos_emb) + sequence * HK;
  if (here.rounds()) floats += sequence * 4 * here.d_head;
  if (here.rounds() && ranks == 1) floats += sequence * 4 * HK + tile * 2 * (X + F);
  return floats * kFloat;
}

// Bytes a token that are widened at once for what looks for newcomers: the inputs of one matrix.
int64_t WidenedBytesPerToken(const model::ModelSpec& here, const config::Settings& settings) {
  const bool looks = settings.sparsity.regime == config::Regime::kActive && settings.sparsity.refresh_every > 0 &&
                     settings.sparsity.newcomers != config::Newcomers::kRandom;
  if (!here.rounds() || !looks) return 0;
  return kFloat * std::max<int64_t>({here.input_width(), here.attention_width(), here.d_mlp});
}

// Floats a token of the messages between ranks that share the model (worker/model/tile_exchange.h): the largest that is
// sent at once, and what the others send then.
int64_t MessageFloatsPerToken(const model::ModelSpec& here, int ranks) {
  if (ranks == 1) return 0;
  const int64_t most = std::max<int64_t>({here.d_model, 3 * here.attention_width(), here.d_mlp});
  return most + most * (ranks - 1) / ranks;
}

int64_t LargestShardOf(const config::Settings& settings, const parallel::Grid& grid, int rank) {
  return LargestShard(settings, parallel::LeavesOf(settings.train.shards, grid.data_rank(rank), grid.data));
}

}  // namespace

PassMemory MemoryOfPasses(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                          int rank) {
  const model::Shard shard{grid.tensor_rank(rank), grid.tensor};
  const model::ModelSpec here = spec.Local(shard);
  const model::Registry part(spec, shard);
  const int64_t sequences = LargestShardOf(settings, grid, rank), tokens = TokensOf(spec, sequences);
  int64_t biases = 0;  // of a layer: their gradients are formed sequence by sequence
  for (const model::TensorInfo& info : part.tensors()) {
    if (info.layer == 0 && info.density == model::Density::kBias) biases += info.numel();
  }
  PassMemory memory;
  memory.activations =
      tokens * (BytesPerToken(here, shard.size) + WidenedBytesPerToken(here, settings)) + biases * sequences * kFloat;
  memory.evaluation = BytesOfEvaluation(spec, here, settings, grid, rank);
  memory.scratch = parallel::ThreadsOfRank(settings.run, grid.size()) * ScratchOfThread(spec, here, shard.size);
  memory.passed = tokens * MessageFloatsPerToken(here, shard.size) * kFloat;
  return memory;
}

// As the first rank of those that share the model has it: parts of a vocabulary differ.
int SequencesEvaluatedAtOnce(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid,
                             int rank) {
  const model::ModelSpec here = spec.Local({0, grid.tensor});
  const int64_t of_shard = LargestShardOf(settings, grid, rank);
  const int64_t half = of_shard * BytesPerToken(here, grid.tensor) / 2 / BytesPerEvaluatedToken(here, grid.tensor);
  return static_cast<int>(std::max({int64_t{1}, of_shard, half}));
}

}  // namespace filigree::train
