// Drawing tokens: temperature, top-p, ties; and text that depends on nothing but model, prompt and seed.

#include "worker/train/generate.h"

#include <cmath>
#include <map>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "worker/model/arena.h"

namespace filigree::train {
namespace {

TEST(SampleToken, TemperatureZeroTakesTheLargestAndTheLowestIdAmongEquals) {
  const std::vector<float> logits = {0.5f, 2.0f, 2.0f, -1.0f};
  for (const double uniform : {0.0, 0.5, 0.999}) EXPECT_EQ(SampleToken(logits, 0, 1, uniform), 1);
}

TEST(SampleToken, DrawsEveryTokenWithItsProbability) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.125f), std::log(0.25f), std::log(0.125f)};
  std::map<int, int> counts;
  constexpr int kDraws = 1000;
  for (int i = 0; i < kDraws; ++i) ++counts[SampleToken(logits, 1, 1, (i + 0.5) / kDraws)];
  EXPECT_NEAR(counts[0], 500, 1);
  EXPECT_NEAR(counts[2], 250, 1);
  EXPECT_NEAR(counts[1], 125, 1);
  EXPECT_NEAR(counts[3], 125, 1);
}

TEST(SampleToken, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.125f), std::log(0.25f), std::log(0.125f)};
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(SampleToken(logits, 1, 0.4, i / 100.0), 0);
    const int token = SampleToken(logits, 1, 0.7, i / 100.0);  // 0.5 + 0.25
    EXPECT_EQ(token, i / 100.0 < 2.0 / 3 ? 0 : 2) << i;
  }
}

TEST(SampleToken, LowTemperatureSharpensAndHugeLogitsStayFinite) {
  const std::vector<float> logits = {1000.0f, 1001.0f, -1000.0f};
  EXPECT_EQ(SampleToken(logits, 0.01, 1, 0.999), 1);
  EXPECT_EQ(SampleToken(logits, 1, 1, 0.9), 0);  // 1 / (1 + e) is left for the second
}

std::vector<int> Text(int threads, uint64_t seed) {
  model::ModelSpec spec;
  spec.d_model = spec.d_mlp = 32;
  spec.n_layer = 2;
  spec.n_head = 2;
  spec.d_head = 16;
  spec.n_ctx = 10;
  spec.vocab = 50;
  spec.bigram = true;
  const model::Registry registry(spec);
  kernels::ThreadPool pool(threads);
  model::Arena weights(registry);
  model::InitialiseWeights(registry, 5, pool, weights);
  model::Network network(spec, registry, pool);
  network.SetWeights(weights);
  SampleOptions options;
  options.tokens = 24;  // longer than n_ctx: the window slides
  options.temperature = 1;
  options.top_p = 1;
  options.seed = seed;
  std::vector<int> text;
  Generate(network, spec, {3, 4}, options, [&](int token) {
    text.push_back(token);
    return true;
  });
  return text;
}

TEST(Generate, TheSeedDecidesAndTheThreadsDoNot) {
  EXPECT_EQ(Text(1, 7), Text(3, 7));
  EXPECT_NE(Text(1, 7), Text(1, 8));
  EXPECT_GT(Text(1, 7).size(), 2u);
}

}  // namespace
}  // namespace filigree::train
