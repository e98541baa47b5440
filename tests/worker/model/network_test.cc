#include "worker/model/network.h"

#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "tests/worker/model/plain_model.h"
#include "tests/worker/model/stage_watcher.h"

// The network against the plain model, and against itself: other threads, other cuts of the batch, other ways to the
// same number.

namespace filigree::model {
namespace {

using testing_support::FillWeights;
using testing_support::RelativeDistance;
using testing_support::Rng;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 5;

std::vector<int32_t> Tokens(const ModelSpec& spec, int sequences, int positions, uint64_t seed = kSeed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(sequences) * positions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(spec.vocab));
  return tokens;
}

// A model with random weights, its network and its gradient.
struct Fixture {
  explicit Fixture(const ModelSpec& spec_in, int threads = 1)
      : spec(spec_in),
        registry(spec),
        weights(registry),
        gradient(registry),
        pool(threads),
        network(spec, registry, pool) {
    FillWeights(registry, kSeed, 0.2f, weights);
    network.SetWeights(weights);
  }
  double Gradient(const std::vector<int32_t>& tokens, int sequences, int positions,
                  Network::Write write = Network::Write::kOverwrite) {
    return network.LossAndGradient({tokens.data(), sequences, positions}, 1.0 / sequences, write, gradient);
  }
  double Loss(const std::vector<int32_t>& tokens, int sequences, int positions) {
    return network.Loss({tokens.data(), sequences, positions});
  }
  const ModelSpec spec;
  const Registry registry;
  Arena weights, gradient;
  kernels::ThreadPool pool;
  Network network;
};

bool SameGradient(const Registry& registry, const Arena& a, const Arena& b) {
  for (const TensorInfo& info : registry.tensors()) {
    if (std::memcmp(a.tensor(info), b.tensor(info), info.numel() * sizeof(float)) != 0) return false;
  }
  return true;
}

// Specs that between them have every option and every absence.
std::vector<ModelSpec> Specs() {
  ModelSpec full = SmallSpec();
  ModelSpec bare = full;
  bare.afrac = 1;
  bare.d_pos_emb = 0;
  bare.sink = bare.bigram = false;
  ModelSpec relu = full;
  relu.activation = config::Activation::kRelu;
  relu.d_pos_emb = 0;
  relu.topk[static_cast<int>(Place::kQ)] = relu.topk[static_cast<int>(Place::kK)] = false;
  ModelSpec one_head = full;
  one_head.n_head = 1;
  one_head.d_head = 17;
  one_head.d_mlp = 9;
  one_head.n_layer = 1;
  one_head.sink = false;
  ModelSpec deep = bare;
  deep.n_layer = 3;
  deep.afrac = 0.25;
  deep.topk = {};
  deep.topk[static_cast<int>(Place::kMlpNeuron)] = true;
  ModelSpec grouped = full;
  grouped.tensor_groups = 3;
  ModelSpec more_groups_than_heads = relu;
  more_groups_than_heads.tensor_groups = 4;
  return {full, bare, relu, one_head, deep, grouped, more_groups_than_heads};
}

// fp32 sums of at most some hundred terms through a few layers; the residual's norm carries errors on, not up.
constexpr double kTolerance = 64 * FLT_EPSILON;

TEST(Network, LossAndLogitsAreThoseOfThePlainModel) {
  int spec_index = 0;
  for (const ModelSpec& spec : Specs()) {
    Fixture f(spec);
    PlainModel plain(f.spec, f.registry, f.weights);
    for (const int positions : {1, 2, 63, 64, 65, 70}) {
      SCOPED_TRACE(testing::Message() << "spec " << spec_index << ", positions " << positions << ", seed " << kSeed);
      const std::vector<int32_t> tokens = Tokens(spec, 2, positions, kSeed + positions);
      const double expected = plain.Loss(tokens, 2, positions);
      EXPECT_NEAR(f.Loss(tokens, 2, positions), expected, kTolerance * expected);
      std::vector<float> logits(static_cast<size_t>(2) * positions * spec.vocab);
      f.network.Logits({tokens.data(), 2, positions}, logits.data());
      for (int s = 0; s < 2; ++s) {
        const auto rows = plain.Logits(std::span(tokens).subspan(s * positions, positions), s);
        std::vector<double> flat;
        for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
        EXPECT_LT(RelativeDistance(logits.data() + s * flat.size(), flat.data(), flat.size()), kTolerance);
      }
    }
    ++spec_index;
  }
}

TEST(Network, SaysOfNoGradientTooEarlyThatItIsWhole) {
  for (const ModelSpec& spec : Specs()) {
    for (const Network::Write write : {Network::Write::kOverwrite, Network::Write::kAdd}) {
      Fixture f(spec, 2);
      testing_support::StageWatcher watcher(f.registry, f.gradient);
      const std::vector<int32_t> tokens = Tokens(spec, 3, 33);
      f.network.LossAndGradient({tokens.data(), 3, 33}, 1, write, f.gradient, nullptr, nullptr, nullptr,
                                watcher.Listener());
      watcher.ExpectNothingCameLater();
    }
  }
}

TEST(Network, TheSameBitsForAnyNumberOfThreads) {
  for (const ModelSpec& spec : Specs()) {
    const std::vector<int32_t> tokens = Tokens(spec, 5, 67);
    Fixture one(spec);
    const double gradient_loss = one.Gradient(tokens, 5, 67), loss = one.Loss(tokens, 5, 67);
    std::vector<float> logits(tokens.size() * spec.vocab), again(logits.size());
    one.network.Logits({tokens.data(), 5, 67}, logits.data());
    for (const int threads : {2, 4}) {
      Fixture more(spec, threads);
      EXPECT_EQ(more.Gradient(tokens, 5, 67), gradient_loss);
      EXPECT_TRUE(SameGradient(one.registry, more.gradient, one.gradient));
      EXPECT_EQ(more.Loss(tokens, 5, 67), loss);
      more.network.Logits({tokens.data(), 5, 67}, again.data());
      EXPECT_EQ(again, logits);
    }
  }
}

TEST(Network, TheSameBitsHoweverManySequencesAtOnce) {
  for (const ModelSpec& spec : Specs()) {
    const std::vector<int32_t> tokens = Tokens(spec, 5, 67);
    Fixture all(spec, 4);
    const double loss = all.Loss(tokens, 5, 67);
    size_t held = all.network.bytes();
    for (const int most : {3, 2, 1}) {  // of five and four threads: in two rounds of three, then two; three; five
      Fixture some(spec, 4);
      some.network.LimitSequencesAtOnce(most);
      EXPECT_EQ(some.Loss(tokens, 5, 67), loss);
      EXPECT_TRUE(most == 3 ? some.network.bytes() == held : some.network.bytes() < held) << most;
      held = some.network.bytes();
    }
  }
}

TEST(SequencesAtOnce, AreAsFewAsTheRoundsAllow) {
  EXPECT_EQ(SequencesAtOnce(/*threads=*/16, /*sequences=*/16, /*shared=*/false, /*most=*/100), 16);
  EXPECT_EQ(SequencesAtOnce(16, 16, false, 7), 6);  // three rounds
  EXPECT_EQ(SequencesAtOnce(2, 16, false, 7), 2);
  EXPECT_EQ(SequencesAtOnce(2, 16, true, 100), 8);
  EXPECT_EQ(SequencesAtOnce(2, 16, true, 0), 1);
  EXPECT_EQ(SequencesAtOnce(4, 1, false, 100), 1);
}

TEST(Network, LossAloneHasTheBitsOfLossWithGradient) {
  for (const ModelSpec& spec : Specs()) {
    for (const int positions : {1, 2, 65}) {
      Fixture f(spec);
      const std::vector<int32_t> tokens = Tokens(spec, 3, positions);
      std::vector<float> per_token(static_cast<size_t>(3) * (positions - 1));
      const double loss = f.Gradient(tokens, 3, positions);
      EXPECT_EQ(f.network.Loss({tokens.data(), 3, positions}, nullptr, per_token.data()), loss);
      double sum = 0;
      for (const float x : per_token) sum += x;
      EXPECT_NEAR(sum, loss, 1e-12 * loss);
    }
  }
}

TEST(Network, LossIsTheCrossEntropyOfTheLogits) {
  Fixture f(SmallSpec());
  const int positions = 66, V = f.spec.vocab;
  const std::vector<int32_t> tokens = Tokens(f.spec, 2, positions);
  std::vector<float> logits(tokens.size() * V), per_token(static_cast<size_t>(2) * (positions - 1));
  f.network.Logits({tokens.data(), 2, positions}, logits.data());
  f.network.Loss({tokens.data(), 2, positions}, nullptr, per_token.data());
  for (int s = 0; s < 2; ++s) {
    for (int t = 0; t + 1 < positions; ++t) {
      const float* row = logits.data() + static_cast<size_t>(s * positions + t) * V;
      double z = 0;
      for (int c = 0; c < V; ++c) z += std::exp(static_cast<double>(row[c]));
      const double expected = std::log(z) - row[tokens[s * positions + t + 1]];
      EXPECT_NEAR(per_token[s * (positions - 1) + t], expected, 1e-5) << s << ", " << t;
    }
  }
}

TEST(Network, LastLogitsAreTheLastOfAllLogits) {
  Fixture f(SmallSpec(), 2);
  for (const int positions : {1, 5, 64, 65}) {
    const std::vector<int32_t> tokens = Tokens(f.spec, 1, positions);
    std::vector<float> all(tokens.size() * f.spec.vocab), last(f.spec.vocab);
    f.network.Logits({tokens.data(), 1, positions}, all.data());
    f.network.LastLogits(tokens, last.data());
    EXPECT_EQ(std::memcmp(last.data(), all.data() + all.size() - last.size(), last.size() * sizeof(float)), 0);
  }
}

TEST(Network, ALaterTokenChangesNothingBefore) {
  Fixture f(SmallSpec());
  std::vector<int32_t> tokens = Tokens(f.spec, 1, 66);
  std::vector<float> before(tokens.size() * f.spec.vocab), after(before.size());
  f.network.Logits({tokens.data(), 1, 66}, before.data());
  tokens[50] = (tokens[50] + 1) % f.spec.vocab;
  f.network.Logits({tokens.data(), 1, 66}, after.data());
  const size_t boundary = static_cast<size_t>(50) * f.spec.vocab;
  EXPECT_EQ(std::memcmp(before.data(), after.data(), boundary * sizeof(float)), 0);
  EXPECT_NE(std::memcmp(before.data() + boundary, after.data() + boundary, f.spec.vocab * sizeof(float)), 0);
}

TEST(Network, AddingAShardIsAddingItsGradient) {
  for (const ModelSpec& spec : Specs()) {
    Fixture f(spec, 2), other(spec);
    const std::vector<int32_t> first = Tokens(spec, 2, 65, 1), second = Tokens(spec, 3, 65, 2);
    f.Gradient(first, 2, 65);
    other.Gradient(second, 3, 65);
    Arena sum(f.registry);
    for (int64_t i = 0; i < sum.size(); ++i) sum.data()[i] = f.gradient.data()[i] + other.gradient.data()[i];
    f.Gradient(second, 3, 65, Network::Write::kAdd);
    EXPECT_TRUE(SameGradient(f.registry, f.gradient, sum));
  }
}

TEST(Network, OverwritesWhateverStoodInTheGradient) {
  Fixture f(SmallSpec()), dirty(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(f.spec, 2, 65);
  for (int64_t i = 0; i < dirty.gradient.size(); ++i) dirty.gradient.data()[i] = NAN;
  f.Gradient(tokens, 2, 65);
  // Another batch size before, so that stale activations would show.
  dirty.Gradient(Tokens(f.spec, 4, 70, 9), 4, 70);
  dirty.Gradient(tokens, 2, 65);
  EXPECT_TRUE(SameGradient(f.registry, f.gradient, dirty.gradient));
}

TEST(Network, ScalesTheGradientAndNotTheLoss) {
  Fixture f(SmallSpec()), g(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(f.spec, 2, 33);
  const double loss = f.network.LossAndGradient({tokens.data(), 2, 33}, 1, Network::Write::kOverwrite, f.gradient);
  // A power of two changes no rounding.
  EXPECT_EQ(g.network.LossAndGradient({tokens.data(), 2, 33}, 0.25, Network::Write::kOverwrite, g.gradient), loss);
  for (const TensorInfo& info : f.registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) {
      ASSERT_EQ(g.gradient.tensor(info)[i], 0.25f * f.gradient.tensor(info)[i]) << info.name << " " << i;
    }
  }
}

TEST(Network, OnePositionPredictsNothing) {
  Fixture f(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(f.spec, 3, 1);
  for (int64_t i = 0; i < f.gradient.size(); ++i) f.gradient.data()[i] = NAN;
  EXPECT_EQ(f.Gradient(tokens, 3, 1), 0);
  for (const TensorInfo& info : f.registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) ASSERT_EQ(f.gradient.tensor(info)[i], 0) << info.name;
  }
}

// Masks of one entry in ten, as the mask room would hand them over.
struct Masks {
  Masks(Fixture& f, double density) {
    Rng rng(kSeed + 1);
    for (const TensorInfo& info : f.registry.tensors()) {
      const bool masked = info.density == Density::kWeight || info.density == Density::kEmbedding;
      bits.emplace_back(masked ? (info.numel() + 63) / 64 : 0, 0);
      nonzeros.push_back(masked ? 0 : info.numel());
      for (int64_t i = 0; masked && i < info.numel(); ++i) {
        if (rng.Uniform() < density) {
          bits.back()[i / 64] |= uint64_t{1} << (i % 64);
          ++nonzeros.back();
        } else {
          f.weights.tensor(info)[i] = 0;
        }
      }
    }
  }
  std::vector<std::vector<uint64_t>> bits;
  std::vector<int64_t> nonzeros;
};

TEST(Network, SparseWeightsGiveWhatDenseOnesDo) {
  for (const ModelSpec& spec : Specs()) {
    Fixture sparse(spec, 2), dense(spec);
    const Masks masks(sparse, 0.1);
    std::memcpy(dense.weights.data(), sparse.weights.data(), dense.weights.size() * sizeof(float));
    dense.network.SetWeights(dense.weights);
    sparse.network.SetWeights(
        sparse.weights, [&](int t) { return masks.bits[t].empty() ? nullptr : masks.bits[t].data(); },
        [&](int t) { return masks.nonzeros[t]; });
    const std::vector<int32_t> tokens = Tokens(spec, 3, 65);
    const double loss = dense.Gradient(tokens, 3, 65);
    EXPECT_NEAR(sparse.Gradient(tokens, 3, 65), loss, kTolerance * loss);
    for (const TensorInfo& info : sparse.registry.tensors()) {
      const double distance = RelativeDistance(sparse.gradient.tensor(info), dense.gradient.tensor(info), info.numel());
      EXPECT_LT(distance, kTolerance) << info.name;
    }
    // The sparse copy is taken at SetWeights, one step's weights after the other.
    FillWeights(dense.registry, kSeed + 7, 0.2f, dense.weights);
    dense.network.SetWeights(dense.weights);
    const double other = dense.Loss(tokens, 3, 65);
    std::memcpy(sparse.weights.data(), dense.weights.data(), dense.weights.size() * sizeof(float));
    sparse.network.SetWeights(sparse.weights);
    EXPECT_EQ(sparse.Loss(tokens, 3, 65), other);
  }
}

}  // namespace
}  // namespace filigree::model
