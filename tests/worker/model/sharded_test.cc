#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/csr/pattern.h"
#include "tests/support/small_model.h"
#include "tests/worker/model/stage_watcher.h"
#include "tests/worker/model/thread_group.h"
#include "worker/model/network.h"

// A model that ranks share computes the bits of one rank that has it whole: losses, logits, every gradient.

namespace filigree::model {
namespace {

using testing_support::FillWeights;
using testing_support::Rng;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 29;

enum class Form { kDense, kSparse, kCandidates };

struct Case {
  std::string name;
  ModelSpec spec;
  std::vector<int> ranks;
  int sequences = 3, positions = 67;
  Form form = Form::kDense;
  bool ties = false;  // few distinct weights
  int threads = 1;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name << ", seed " << kSeed; }

// The model on one rank or a part of it: the same weights, masks and candidates wherever they lie.
struct Model {
  Model(const Case& c, Shard shard) : whole(c.spec), registry(c.spec, shard), layout(MakeLayout(c)), weights(layout) {
    Arena all(whole);
    FillWeights(whole, kSeed, 0.2f, all);
    const std::vector<std::vector<bool>> kept = Drawn(c, 0.2, 1);
    for (const TensorInfo& info : registry.tensors()) {
      const float* from = all.tensor(whole[info.index]);
      const std::vector<int64_t> here = StoredIndices(info);
      float* w = weights.tensor(info);
      bits.emplace_back(Masked(c, info) ? (here.size() + 63) / 64 + 1 : 0, 0);
      nonzeros.push_back(0);
      for (size_t e = 0; e < here.size(); ++e) {
        const int64_t i = here[e];
        w[e] = c.ties && info.init == Init::kNormal ? std::round(4 * from[i]) / 4 : from[i];
        if (bits.back().empty()) continue;
        if (!kept[info.index][i]) w[e] = 0;
        if (kept[info.index][i]) bits.back()[e / 64] |= uint64_t{1} << e % 64;
      }
      for (size_t i = 0; i < kept[info.index].size(); ++i) nonzeros.back() += kept[info.index][i];
    }
  }

  static bool Matrix(const TensorInfo& info) {
    return info.density == Density::kWeight || info.density == Density::kEmbedding;
  }
  static bool Masked(const Case& c, const TensorInfo& info) { return c.form != Form::kDense && Matrix(info); }

  // One bit for every entry of every whole matrix.
  std::vector<std::vector<bool>> Drawn(const Case& c, double density, uint64_t salt) const {
    std::vector<std::vector<bool>> drawn(whole.size());
    Rng rng(kSeed + salt);
    for (const TensorInfo& info : whole.tensors()) {
      if (!Masked(c, info)) continue;
      for (int64_t i = 0; i < info.numel(); ++i) drawn[info.index].push_back(rng.Uniform() < density);
    }
    return drawn;
  }

  std::shared_ptr<Layout> MakeLayout(const Case& c) const {
    auto made = std::make_shared<Layout>(registry.numels());
    if (c.form != Form::kCandidates) return made;
    const std::vector<std::vector<bool>> kept = Drawn(c, 0.2, 1), reserve = Drawn(c, 0.3, 2);
    std::vector<Layout::Change> changes;
    for (const TensorInfo& info : registry.tensors()) {
      if (!Matrix(info)) continue;
      std::vector<uint64_t> candidates((info.numel() + 63) / 64 + 1, 0);
      for (int64_t i = 0; i < info.numel(); ++i) {
        const int64_t w = info.WholeIndex(i);
        if (kept[info.index][w] || reserve[info.index][w]) candidates[i / 64] |= uint64_t{1} << i % 64;
      }
      changes.push_back({info.index, kernels::Pattern::FromDenseBitmap(
                                         static_cast<int>(info.rows), static_cast<int>(info.cols), candidates.data())});
    }
    made->Apply(std::move(changes));
    return made;
  }

  // The index in the whole tensor of every value that is stored here.
  std::vector<int64_t> StoredIndices(const TensorInfo& info) const {
    std::vector<int64_t> indices;
    const kernels::PatternView* candidates = layout->candidates(info.index);
    if (candidates == nullptr) {
      for (int64_t i = 0; i < info.numel(); ++i) indices.push_back(info.WholeIndex(i));
      return indices;
    }
    for (int r = 0; r < candidates->rows; ++r) {
      for (uint32_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; ++e) {
        indices.push_back(info.WholeIndex(r * info.cols + candidates->col_indices[e]));
      }
    }
    return indices;
  }

  // The values of a gradient as a whole tensor; entries that are not stored stay as they are.
  void Place(const TensorInfo& info, const Arena& arena, std::vector<float>& to, std::vector<int>& seen) const {
    const std::vector<int64_t> indices = StoredIndices(info);
    for (size_t e = 0; e < indices.size(); ++e) {
      to[indices[e]] = arena.tensor(info)[e];
      ++seen[indices[e]];
    }
  }

  const Registry whole, registry;
  const std::shared_ptr<Layout> layout;
  Arena weights;
  std::vector<std::vector<uint64_t>> bits;
  std::vector<int64_t> nonzeros;
};

std::vector<int32_t> Tokens(const Case& c, int sequences, uint64_t salt) {
  Rng rng(kSeed + 100 + salt);
  std::vector<int32_t> tokens(static_cast<size_t>(sequences) * c.positions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(c.spec.vocab));
  return tokens;
}

// What a rank computes: two shards' gradients, added; the loss alone; logits.
struct Results {
  double first = 0, second = 0, loss = 0;
  std::vector<float> per_token, logits, last;
  Arena gradient;

  explicit Results(const Model& model) : gradient(model.layout) {
    for (int64_t i = 0; i < gradient.size(); ++i) gradient.data()[i] = NAN;
  }
};

Results Compute(const Case& c, const Model& model, TensorGroup* group) {
  Results out(model);
  kernels::ThreadPool pool(c.threads);
  Network network(c.spec, model.registry, pool, group);
  network.SetWeights(
      model.weights, [&](int t) { return model.bits[t].empty() ? nullptr : model.bits[t].data(); },
      [&](int t) { return model.nonzeros[t]; });
  const std::vector<int32_t> tokens = Tokens(c, c.sequences, 0), more = Tokens(c, c.sequences + 1, 1);
  using Write = Network::Write;
  out.first = network.LossAndGradient({tokens.data(), c.sequences, c.positions}, 0.37, Write::kOverwrite, out.gradient);
  testing_support::StageWatcher watcher(model.registry, out.gradient);
  out.second = network.LossAndGradient({more.data(), c.sequences + 1, c.positions}, 0.37, Write::kAdd, out.gradient,
                                       nullptr, nullptr, nullptr, watcher.Listener());
  watcher.ExpectNothingCameLater();
  const Network::Batch batch{more.data(), c.sequences + 1, c.positions};
  if (group != nullptr) network.LimitSequencesAtOnce(3);  // in more rounds than alone: no bit changes
  out.per_token.resize(static_cast<size_t>(c.sequences + 1) * (c.positions - 1));
  out.loss = network.Loss(batch, nullptr, out.per_token.data());
  out.logits.resize(more.size() * c.spec.vocab);
  network.Logits(batch, out.logits.data());
  out.last.resize(c.spec.vocab);
  network.LastLogits(std::span(more).first(c.positions), out.last.data());
  EXPECT_TRUE(network.status().ok()) << network.status();
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

class ShardedTest : public testing::TestWithParam<Case> {};

TEST_P(ShardedTest, RanksComputeTheBitsOfOne) {
  const Case& c = GetParam();
  const Model alone(c, {});
  const Results expected = Compute(c, alone, nullptr);
  ASSERT_TRUE(std::isfinite(expected.first));
  for (const int size : c.ranks) {
    SCOPED_TRACE(testing::Message() << size << " ranks");
    std::vector<std::unique_ptr<Model>> models;
    models.reserve(size);
    for (int r = 0; r < size; ++r) models.push_back(std::make_unique<Model>(c, Shard{r, size}));
    std::vector<std::unique_ptr<Results>> results(size);
    ThreadRanks ranks(size);
    ranks.Run([&](int r) { results[r] = std::make_unique<Results>(Compute(c, *models[r], &ranks.rank(r))); });
    for (const auto& result : results) {
      EXPECT_EQ(result->first, expected.first);
      EXPECT_EQ(result->second, expected.second);
      EXPECT_EQ(result->loss, expected.loss);
      EXPECT_TRUE(SameBits(result->per_token, expected.per_token));
      EXPECT_TRUE(SameBits(result->logits, expected.logits));
      EXPECT_TRUE(SameBits(result->last, expected.last));
    }
    for (const TensorInfo& info : alone.registry.tensors()) {
      std::vector<float> whole(info.numel(), 0), parts(info.numel(), 0);
      std::vector<int> stored(info.numel(), 0), found(info.numel(), 0);
      alone.Place(info, expected.gradient, whole, stored);
      for (int r = 0; r < size; ++r) {
        const TensorInfo& local = models[r]->registry[info.index];
        if (!local.shared) {  // then it is so on every rank
          parts.assign(info.numel(), 0);
          found.assign(info.numel(), 0);
        }
        models[r]->Place(local, results[r]->gradient, parts, found);
        EXPECT_TRUE(local.shared || SameBits(parts, whole)) << info.name << " of rank " << r;
      }
      EXPECT_EQ(found, stored) << info.name;  // every value is on one rank, or the tensor is whole on all
      EXPECT_TRUE(SameBits(parts, whole)) << info.name;
    }
  }
}

// A model with every option whose groups are nowhere even.
ModelSpec Spec(int heads, int groups) {
  ModelSpec spec = SmallSpec();
  spec.n_head = heads;
  spec.tensor_groups = groups;
  spec.n_ctx = 140;
  return spec;
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const ModelSpec four = Spec(4, 4);
  cases.push_back({"every option", four, {1, 2, 4}});
  cases.push_back({"threads", four, {2, 4}, 5, 67, Form::kDense, false, 3});
  cases.push_back({"sparse", four, {1, 2, 4}, 3, 67, Form::kSparse});
  cases.push_back({"candidates", four, {1, 2, 4}, 3, 67, Form::kCandidates});
  cases.push_back({"candidates, one sequence", four, {2, 4}, 1, 67, Form::kCandidates, false, 2});
  cases.push_back({"ties", four, {2, 4}, 3, 67, Form::kDense, true});
  cases.push_back({"sparse ties", four, {2, 4}, 2, 65, Form::kSparse, true});
  cases.push_back({"one position", four, {2, 4}, 3, 1});
  cases.push_back({"one sequence of one tile", four, {2, 4}, 1, 33});
  cases.push_back({"one sequence of three tiles", four, {2, 4}, 1, 130});
  cases.push_back({"more sequences than at once", four, {4}, 9, 5});
  cases.push_back({"six groups", Spec(6, 6), {2, 3, 6}});
  cases.push_back({"six groups of candidates", Spec(6, 6), {2, 3}, 2, 20, Form::kCandidates});
  cases.push_back({"twelve groups", Spec(12, 12), {4}, 2, 20, Form::kSparse});
  cases.push_back({"more groups than heads", Spec(3, 4), {1, 2, 4}});
  cases.push_back({"a head for one rank alone", Spec(1, 2), {2}});
  cases.push_back({"more groups than heads, candidates", Spec(3, 4), {2, 4}, 2, 20, Form::kCandidates});
  ModelSpec bare = four;
  bare.afrac = 1;
  bare.d_pos_emb = 0;
  bare.sink = bare.bigram = false;
  cases.push_back({"dense activations", bare, {2, 4}});
  cases.push_back({"dense activations, candidates", bare, {4}, 2, 20, Form::kCandidates});
  ModelSpec relu = four;
  relu.activation = config::Activation::kRelu;
  relu.d_pos_emb = 0;
  relu.sink = false;
  cases.push_back({"relu", relu, {2, 4}});
  ModelSpec deep = bare;
  deep.n_layer = 3;
  cases.push_back({"three layers", deep, {2}, 2, 40});
  ModelSpec bf16 = four, bare_bf16 = bare;
  bf16.activation_storage = bare_bf16.activation_storage = config::ActivationStorage::kBf16;
  cases.push_back({"activations as bf16", bf16, {1, 2, 4}, 3, 130});
  cases.push_back({"activations as bf16, threads", bf16, {2, 4}, 5, 67, Form::kSparse, false, 3});
  cases.push_back({"activations as bf16, candidates", bf16, {2, 4}, 3, 67, Form::kCandidates, false, 2});
  cases.push_back({"dense activations as bf16", bare_bf16, {2, 4}});
  for (int place = 0; place < kPlaces; ++place) {
    if (kTopKPlaceNames[place] == nullptr) continue;
    ModelSpec only = four, without = four;
    only.topk = {};
    only.topk[place] = true;
    without.topk[place] = false;
    cases.push_back({std::string("only ") + kTopKPlaceNames[place], only, {4}, 2, 20});
    cases.push_back({std::string("without ") + kTopKPlaceNames[place], without, {4}, 2, 20});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, ShardedTest, testing::ValuesIn(Cases()));

TEST(Sharded, AGroupOfOneIsAlone) {
  const Case c{"alone", Spec(4, 4), {}};
  const Model model(c, {});
  ThreadRanks ranks(1);
  EXPECT_EQ(Compute(c, model, &ranks.rank(0)).first, Compute(c, model, nullptr).first);
  EXPECT_EQ(ranks.calls, 0);
}

// Wherever the group breaks: every rank has its status and no loss, and no later call exchanges anything.
TEST(Sharded, AnErrorOfTheGroupIsTheNetworks) {
  const Case c{"broken", Spec(4, 4), {}, 2, 20};
  for (int fail_at = 0;; ++fail_at) {
    ThreadRanks ranks(2, fail_at);
    int64_t broken = 0;
    bool ok = false;
    ranks.Run([&](int r) {
      const Model model(c, {r, 2});
      Results out(model);
      kernels::ThreadPool pool(1);
      Network network(c.spec, model.registry, pool, &ranks.rank(r));
      network.SetWeights(model.weights);
      const std::vector<int32_t> tokens = Tokens(c, c.sequences, 0);
      const Network::Batch batch{tokens.data(), c.sequences, c.positions};
      const double loss = network.LossAndGradient(batch, 1, Network::Write::kOverwrite, out.gradient);
      if (r == 0) ok = network.status().ok();
      if (network.status().ok()) return;
      EXPECT_EQ(network.status().message(), "a rank is gone");
      EXPECT_TRUE(std::isnan(loss));
      if (r == 0) broken = ranks.calls;
      EXPECT_TRUE(std::isnan(network.Loss(batch)));
      EXPECT_TRUE(std::isnan(network.LossAndGradient(batch, 1, Network::Write::kOverwrite, out.gradient)));
    });
    if (ok) {
      EXPECT_GT(fail_at, 20);
      break;
    }
    EXPECT_EQ(ranks.calls, broken) << fail_at;
    EXPECT_EQ(broken, fail_at + 1);
  }
}

// What a rank of P sends, a layer and token, to the P - 1 others. D channels, 4 D neurons, a quarter of them kept.
TEST(Sharded, CountsItsBytes) {
  ModelSpec spec = Spec(4, 4);
  spec.d_model = 64;
  spec.d_head = 16;
  spec.d_mlp = 256;
  spec.vocab = 96;
  spec.d_pos_emb = 0;
  spec.afrac = 0.25;
  for (const int size : {2, 4}) {
    const Case c{"bytes", spec, {}, 4, 64};
    ThreadRanks ranks(size);
    ranks.Run([&](int r) {
      const Model model(c, {r, size});
      Results out(model);
      kernels::ThreadPool pool(1);
      Network network(c.spec, model.registry, pool, &ranks.rank(r));
      network.SetWeights(model.weights);
      const std::vector<int32_t> tokens = Tokens(c, c.sequences, 0);
      network.LossAndGradient({tokens.data(), c.sequences, c.positions}, 1, Network::Write::kOverwrite, out.gradient);
    });
    const double P = size, D = 64, others = (P - 1) / P, tokens = 4 * 64, layers = 2;
    const auto sent = [&](const char* what) { return static_cast<double>(ranks.sent[what]) / tokens; };
    const double kept = (D / 8 + 4 * D / 4) * others;  // a bit a channel, the kept values
    EXPECT_EQ(sent("attn_in"), layers * kept);
    EXPECT_EQ(sent("mlp_in"), layers * kept);
    EXPECT_EQ(sent("q, k, v"), layers * (4 * 3 * D / P + 3 * D / 8 / P) * others);     // values one way, bits back
    EXPECT_EQ(sent("mlp_neuron"), layers * (4 * 4 * D / P + 4 * D / 8 / P) * others);  // likewise
    EXPECT_EQ(sent("attn_out"), layers * 4 * D * others);
    EXPECT_EQ(sent("mlp_out"), layers * 4 * D * others);
    EXPECT_EQ(sent("attn_out's gradient"), layers * kept);
    EXPECT_EQ(sent("mlp_out's gradient"), layers * kept);
    EXPECT_EQ(sent("attn_in's gradient"), layers * 4 * D / 4 * others);
    EXPECT_EQ(sent("mlp_in's gradient"), layers * 4 * D / 4 * others);
    EXPECT_EQ(sent("lm_head inputs"), 4 * D * others);
    EXPECT_EQ(sent("lm_head inputs' gradient"), 4 * D * others);
    EXPECT_EQ(sent("embeddings' gradient"), 4 * D * others);
    EXPECT_EQ(sent("softmax"), 16 * 4 / P * (P - 1));  // a maximum, a logit and a sum, a group
    EXPECT_EQ(sent("gradients of gains"), (2 * layers + 1) * 4 * D / 64 * others);
    EXPECT_EQ(ranks.sent.size(), 15);
  }
}

TEST(ShardedDeathTest, RefusesTheWeightsOfAnotherRank) {
  const Case c{"wrong", Spec(4, 4), {}};
  const Model model(c, {1, 2});
  ThreadRanks ranks(2);
  kernels::ThreadPool pool(1);
  EXPECT_DEATH(Network(c.spec, model.registry, pool, &ranks.rank(0)), "rank 0 of 2 with the weights of rank 1 of 2");
}

}  // namespace
}  // namespace filigree::model
