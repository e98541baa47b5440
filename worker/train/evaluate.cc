#include "worker/train/evaluate.h"

#include <algorithm>
#include <vector>

#include "kernels/base/check.h"
#include "worker/data/loader.h"

namespace filigree::train {

Evaluation Evaluate(model::Network& network, const data::TokenStream& stream, int n_ctx, int64_t sequences,
                    const std::function<bool()>& go_on) {
  constexpr int64_t kChunk = 16;
  const int64_t all = stream.size() / n_ctx;
  CHECK(all > 0, "{} tokens, n_ctx {}", stream.size(), n_ctx);
  const std::vector<int64_t> begins = data::ValidationSequences(stream, n_ctx, sequences == 0 ? all : sequences);
  const auto count = static_cast<int64_t>(begins.size());
  std::vector<int32_t> tokens(static_cast<size_t>(kChunk) * n_ctx);
  Evaluation result;
  double sum = 0;
  for (int64_t first = 0; first < count; first += kChunk) {
    if (first > 0 && go_on && !go_on()) {
      result.whole = false;
      break;
    }
    const auto chunk = static_cast<int>(std::min(kChunk, count - first));
    for (int i = 0; i < chunk; ++i) {
      stream.Copy(begins[first + i], n_ctx, tokens.data() + static_cast<size_t>(i) * n_ctx);
    }
    sum += network.Loss({tokens.data(), chunk, n_ctx});
    result.tokens += static_cast<int64_t>(chunk) * (n_ctx - 1);
  }
  result.loss = sum / static_cast<double>(result.tokens);
  return result;
}

}  // namespace filigree::train
