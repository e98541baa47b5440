#ifndef FILIGREE_TESTS_SUPPORT_SMALL_RUN_H_
#define FILIGREE_TESTS_SUPPORT_SMALL_RUN_H_

#include <cstdint>
#include <vector>

#include "tests/support/tiles.h"
#include "worker/config/settings.h"
#include "worker/model/spec.h"

// A run of a few steps that has everything: odd sizes, sinks, a bigram table, AbsTopK at all places, both regimes.

namespace filigree::testing_support {

inline constexpr int kRunSequences = 7, kRunPositions = 21, kRunVocab = 61;

inline model::ModelSpec RunSpec() {
  model::ModelSpec spec;
  spec.d_model = 48;
  spec.n_layer = 2;
  spec.n_head = 3;
  spec.d_head = 16;
  spec.d_mlp = 81;
  spec.n_ctx = kRunPositions;
  spec.vocab = kRunVocab;
  spec.afrac = 0.25;
  spec.topk.fill(true);
  spec.sink = spec.bigram = true;
  return spec;
}

inline config::Settings ExactRun() {
  config::Settings settings;
  settings.run.steps = 10;
  settings.train.batch = kRunSequences;
  settings.train.shards = 3;
  settings.sparsity.regime = config::Regime::kExact;
  settings.sparsity.density = 0.125;
  settings.sparsity.embedding_density = 0.5;
  settings.sparsity.anneal_start = 0.1;
  settings.sparsity.anneal_end = 0.7;
  settings.sparsity.min_alive = 2;
  settings.optim.warmup = 0.1;
  return settings;
}

// Where the candidates of an active run begin.
enum class Start { kSparse, kDense, kEverything };

inline config::Settings ActiveRun(Start start) {
  config::Settings settings = ExactRun();
  settings.run.steps = 24;
  settings.run.seed = 5;
  config::SparsitySettings& s = settings.sparsity;
  s.regime = config::Regime::kActive;
  s.density = 0.0625;
  s.embedding_density = 0.1;
  s.density_start = s.embedding_density_start = start == Start::kSparse ? 0.2 : 1;
  s.candidates = start == Start::kEverything ? 4096 : 3;
  s.refresh_every = 4;
  s.dense_phase = start == Start::kDense;
  return settings;
}

inline std::vector<int32_t> RunTokens(uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(kRunSequences * kRunPositions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(kRunVocab));
  return tokens;
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_SMALL_RUN_H_
