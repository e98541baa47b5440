#ifndef FILIGREE_WORKER_TRAIN_GENERATE_H_
#define FILIGREE_WORKER_TRAIN_GENERATE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "worker/model/network.h"
#include "worker/model/spec.h"

// Text from a model, token by token.

namespace filigree::train {

struct SampleOptions {
  int64_t tokens = 128;      // at most this many
  double temperature = 0.8;  // 0: the most likely token, ties to the lower id
  double top_p = 0.95;       // the smallest set of most likely tokens with at least this probability; 1: all
  uint64_t seed = 1;
};

// The next token by `logits`: softmax(logits / temperature), cut to top_p, drawn with `uniform` in [0, 1).
// Deterministic.
int SampleToken(std::span<const float> logits, double temperature, double top_p, double uniform);

// Continues `prompt` (empty: as at the start of a document) until options.tokens are made, end of text is drawn, or
// `emit` returns false; every token but end of text goes to `emit`. The model sees the last n_ctx tokens. The same seed
// gives the same text, whatever the number of threads.
void Generate(model::Network& network, const model::ModelSpec& spec, std::vector<int32_t> prompt,
              const SampleOptions& options, const std::function<bool(int token)>& emit);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_GENERATE_H_
