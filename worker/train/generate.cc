#include "worker/train/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/base/random.h"

namespace filigree::train {

int SampleToken(std::span<const float> logits, double temperature, double top_p, double uniform) {
  const auto best = static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (temperature <= 0) return best;
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<double> cumulative(logits.size());
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    sum += std::exp((static_cast<double>(logits[order[i]]) - logits[best]) / temperature);
    cumulative[i] = sum;
  }
  // The first place where the mass reaches top_p ends the nucleus.
  const auto end = std::lower_bound(cumulative.begin(), cumulative.end(), top_p * sum);
  const auto last = std::min<size_t>(end - cumulative.begin(), order.size() - 1);
  const double wanted = uniform * cumulative[last];
  const auto drawn = std::upper_bound(cumulative.begin(), cumulative.begin() + last, wanted) - cumulative.begin();
  return order[drawn];
}

void Generate(model::Network& network, const model::ModelSpec& spec, std::vector<int32_t> prompt,
              const SampleOptions& options, const std::function<bool(int token)>& emit) {
  const int end_of_text = spec.vocab - 1;
  if (prompt.empty()) prompt.push_back(end_of_text);
  const kernels::CounterRng rng(options.seed, kernels::StreamOf("generate"));
  std::vector<float> logits(spec.vocab);
  for (int64_t i = 0; i < options.tokens; ++i) {
    const size_t seen = std::min<size_t>(prompt.size(), spec.n_ctx);
    network.LastLogits(std::span<const int32_t>(prompt).last(seen), logits.data());
    if (!network.status().ok()) return;
    const int token = SampleToken(logits, options.temperature, options.top_p, rng.Uniform(i));
    if (token == end_of_text || !emit(token)) return;
    prompt.push_back(token);
  }
}

}  // namespace filigree::train
