// What the rules of newcomers learn of a step's gradient, against the gradient itself.

#include "worker/train/evidence.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/pattern.h"
#include "tests/support/small_model.h"
#include "worker/model/channel_norms.h"
#include "worker/model/network.h"
#include "worker/train/candidates.h"
#include "worker/train/shard_proposals.h"

namespace filigree::train {
namespace {

constexpr int kSequences = 3, kPositions = 67;
constexpr double kRounding = 8 * 0x1p-24;  // of a tile's squares (kernels/sddmm/channel_squares.h)

// Forms dW = sum of dy x^T in double from what it is shown, and the sums of squares of the factors.
class PlainWitness : public model::GradientWitness {
 public:
  struct Seen {
    std::vector<double> gradient, rows, columns;
  };

  void Matrix(const model::TensorInfo& info, std::span<const kernels::ConstTile> dy,
              std::span<const kernels::ConstTile> x, kernels::ThreadPool&) override {
    Seen& s = At(info);
    for (size_t n = 0; n < dy.size(); ++n) {
      for (int t = 0; t < kernels::kTileTokens; ++t) {
        for (int64_t o = 0; o < info.rows; ++o) {
          const double a = dy[n].at(static_cast<int>(o), t);
          s.rows[o] += a * a;
          for (int64_t i = 0; i < info.cols; ++i) s.gradient[o * info.cols + i] += a * x[n].at(static_cast<int>(i), t);
        }
        for (int64_t i = 0; i < info.cols; ++i) s.columns[i] += std::pow(x[n].at(static_cast<int>(i), t), 2);
      }
    }
  }
  void Table(const model::TensorInfo& info, std::span<const kernels::ConstTile> dx,
             std::span<const int32_t* const> tokens, kernels::ThreadPool&) override {
    Seen& s = At(info);
    for (size_t n = 0; n < dx.size(); ++n) {
      for (int t = 0; t < kernels::kTileTokens; ++t) {
        const int32_t row = tokens[n][t];
        for (int64_t c = 0; c < info.cols; ++c) {
          const double g = dx[n].at(static_cast<int>(c), t);
          s.columns[c] += g * g;
          if (row < 0) continue;
          s.rows[row] += g * g;
          s.gradient[row * info.cols + c] += g;
        }
      }
    }
  }
  std::map<int, Seen> seen;

 private:
  Seen& At(const model::TensorInfo& info) {
    Seen& s = seen[info.index];
    s.gradient.resize(info.numel());
    s.rows.resize(info.rows);
    s.columns.resize(info.cols);
    return s;
  }
};

class EvidenceTest : public testing::Test {
 protected:
  EvidenceTest()
      : spec(testing_support::SmallSpec()),
        registry(spec),
        pool(2),
        weights(registry),
        gradient(registry),
        network(spec, registry, pool) {
    testing_support::FillWeights(registry, /*seed=*/3, 0.2f, weights);
    network.SetWeights(weights);
    testing_support::Rng rng(4);
    tokens.resize(kSequences * kPositions);
    for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(spec.vocab));
  }
  void Show(model::GradientWitness* witness) {
    network.LossAndGradient({tokens.data(), kSequences, kPositions}, 1, model::Network::Write::kOverwrite, gradient,
                            nullptr, nullptr, witness);
  }

  model::ModelSpec spec;
  model::Registry registry;
  kernels::ThreadPool pool;
  model::Arena weights, gradient;
  model::Network network;
  std::vector<int32_t> tokens;
};

TEST_F(EvidenceTest, AWitnessSeesTheFactorsOfEveryMatrix) {
  PlainWitness plain;
  Show(&plain);
  int matrices = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.density != model::Density::kWeight && info.density != model::Density::kEmbedding) continue;
    ++matrices;
    ASSERT_TRUE(plain.seen.contains(info.index)) << info.name;
    const std::vector<double>& truth = plain.seen[info.index].gradient;
    const float* ours = gradient.tensor(info);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < info.numel(); ++i) {
      error += std::pow(ours[i] - truth[i], 2);
      norm += truth[i] * truth[i];
    }
    EXPECT_LE(std::sqrt(error), 128 * 0x1p-24 * std::sqrt(norm)) << info.name;  // sums over 201 tokens
  }
  EXPECT_EQ(matrices, 2 + 4 * spec.n_layer);
}

TEST_F(EvidenceTest, NormsAreThoseOfTheFactorsAndBoundTheGradient) {
  PlainWitness plain;
  Show(&plain);
  model::ChannelNorms norms(registry);
  for (int again = 0; again < 2; ++again) {  // Clear forgets
    norms.Clear();
    Show(&norms);
  }
  for (const auto& [tensor, seen] : plain.seen) {
    const model::TensorInfo& info = registry[tensor];
    ASSERT_EQ(norms.rows(tensor).size(), seen.rows.size());
    for (size_t o = 0; o < seen.rows.size(); ++o) {
      EXPECT_NEAR(norms.rows(tensor)[o], seen.rows[o], kRounding * seen.rows[o]) << info.name << " row " << o;
    }
    for (size_t i = 0; i < seen.columns.size(); ++i) {
      EXPECT_NEAR(norms.columns(tensor)[i], seen.columns[i], kRounding * seen.columns[i]) << info.name;
    }
    if (tensor == registry.wte()) continue;
    for (int64_t e = 0; e < info.numel(); ++e) {
      const double bound = std::sqrt(norms.rows(tensor)[e / info.cols] * norms.columns(tensor)[e % info.cols]);
      EXPECT_LE(std::abs(seen.gradient[e]), bound * (1 + kRounding)) << info.name;
    }
  }
}

// One tile in two, at alternating places of the sequences (two tiles each): of the three sequences the first tile, the
// second, the first.
TEST_F(EvidenceTest, NormsOfASampleAreThoseOfItsTiles) {
  class Sample : public model::GradientWitness {
   public:
    explicit Sample(model::GradientWitness& all) : all_(all) {}
    void Matrix(const model::TensorInfo& info, std::span<const kernels::ConstTile> dy,
                std::span<const kernels::ConstTile> x, kernels::ThreadPool& pool) override {
      const std::vector<kernels::ConstTile> a = {dy[0], dy[3], dy[4]}, b = {x[0], x[3], x[4]};
      all_.Matrix(info, a, b, pool);
    }
    void Table(const model::TensorInfo& info, std::span<const kernels::ConstTile> dx,
               std::span<const int32_t* const> tokens, kernels::ThreadPool& pool) override {
      const std::vector<kernels::ConstTile> a = {dx[0], dx[3], dx[4]};
      const std::vector<const int32_t*> t = {tokens[0], tokens[3], tokens[4]};
      all_.Table(info, a, t, pool);
    }

   private:
    model::GradientWitness& all_;
  };
  model::ChannelNorms all(registry), half(registry, 2);
  Sample sample(all);
  Show(&sample);
  Show(&half);
  for (int t = 0; t < registry.size(); ++t) {
    EXPECT_EQ(half.rows(t), all.rows(t)) << registry[t].name;
    EXPECT_EQ(half.columns(t), all.columns(t)) << registry[t].name;
  }
}

TEST_F(EvidenceTest, TheOracleRanksByTheGradientAndVotesFindItsLargest) {
  config::Settings settings;
  settings.train.shards = 1;
  settings.sparsity.candidates = 4;
  TrainState state(spec, settings);
  PlainWitness plain;
  Show(&plain);
  for (const config::Newcomers rule : {config::Newcomers::kGradient, config::Newcomers::kVotes}) {
    settings.sparsity.newcomers = rule;
    const std::unique_ptr<Evidence> evidence = Evidence::Make(settings, state);
    model::GradientWitness* const witness = evidence->Begin(7);
    evidence->BeginShard(0);
    Show(witness);
    const model::TensorInfo& info = registry[registry.layer(1).c_fc];
    const std::vector<double>& truth = plain.seen[info.index].gradient;
    const int64_t candidates = info.numel() / 8;
    const EvidenceOf found = evidence->Of(info, candidates, pool);
    ASSERT_GE(static_cast<int64_t>(found.ranked.size()), candidates);
    double mean_of_ranked = 0, mean_of_all = 0;
    for (int64_t e = 0; e < candidates; ++e) mean_of_ranked += std::abs(truth[found.ranked[e]]) / candidates;
    for (const double g : truth) mean_of_all += std::abs(g) / static_cast<double>(truth.size());
    // A ranking that knew nothing would have the mean of all; the oracle has about three times that.
    EXPECT_GT(mean_of_ranked, 1.5 * mean_of_all);
    if (rule != config::Newcomers::kGradient) continue;
    for (int64_t e = 1; e < candidates; ++e) {
      EXPECT_GE(std::abs(truth[found.ranked[e - 1]]), std::abs(truth[found.ranked[e]]) * (1 - 1e-4));
    }
  }
}

// Where every third entry of a matrix is a candidate: what shards propose are other positions, best first, and the
// gradient there is large.
TEST_F(EvidenceTest, ProposalsAreNoCandidatesAndHaveLargeGradients) {
  config::Settings settings;
  settings.train.shards = 2;
  settings.sparsity.newcomers = config::Newcomers::kProposals;
  settings.sparsity.density = settings.sparsity.density_start = 1.0 / 9;
  settings.sparsity.candidates = 3;
  const model::TensorInfo& info = registry[registry.layer(1).c_fc];
  std::vector<uint64_t> third((info.numel() + 63) / 64);
  for (int64_t i = 0; i < info.numel(); i += 3) third[i / 64] |= uint64_t{1} << (i % 64);
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  std::vector<model::Layout::Change> changes;
  changes.push_back({info.index, kernels::Pattern::FromDenseBitmap(static_cast<int>(info.rows),
                                                                   static_cast<int>(info.cols), third.data())});
  layout->Apply(std::move(changes));
  const TrainState state(spec, settings, layout);
  PlainWitness plain;
  const std::unique_ptr<Evidence> evidence = Evidence::Make(settings, state);
  model::GradientWitness* witness = evidence->Begin(7);
  for (int64_t shard = 0; shard < 2; ++shard) {
    evidence->BeginShard(shard);
    Show(witness);
    Show(&plain);
    evidence->EndShard(shard);
    std::rotate(tokens.begin(), tokens.begin() + kPositions, tokens.end());
  }
  evidence->Finish();
  const std::vector<uint32_t> ranked = evidence->Of(info, 0, pool).ranked;
  const std::vector<double>& truth = plain.seen[info.index].gradient;
  const int64_t newcomers = NewcomersOf(settings, info, 7);
  ASSERT_GT(newcomers, 50);
  ASSERT_LE(std::ssize(ranked), newcomers);
  ASSERT_GT(std::ssize(ranked), newcomers / 2);
  double of_ranked = 0, of_all = 0;
  for (const uint32_t position : ranked) {
    EXPECT_NE(position % 3, 0u);
    of_ranked += std::abs(truth[position]) / static_cast<double>(ranked.size());
  }
  for (const double g : truth) of_all += std::abs(g) / static_cast<double>(truth.size());
  EXPECT_GT(of_ranked, 1.5 * of_all);
  EXPECT_TRUE(evidence->Of(registry[registry.layer(0).c_fc], 0, pool).ranked.empty()) << "it is whole";
  EXPECT_FALSE(evidence->Of(registry[registry.wte()], 0, pool).rows.empty()) << "a table goes by norms";
}

// The score of a position is the shard's gradient there.
TEST_F(EvidenceTest, ScoresAreTheGradientOfTheShard) {
  class Proposing : public model::GradientWitness {
   public:
    explicit Proposing(const model::TensorInfo& info)
        : info_(info), empty_(static_cast<int>(info.rows), static_cast<int>(info.cols), 0) {}
    void Matrix(const model::TensorInfo& info, std::span<const kernels::ConstTile> dy,
                std::span<const kernels::ConstTile> x, kernels::ThreadPool& pool) override {
      if (info.index == info_.index) proposals = ProposeNewcomers({dy, x, empty_.view(), 300, 5, 6, 7}, pool);
    }
    void Table(const model::TensorInfo&, std::span<const kernels::ConstTile>, std::span<const int32_t* const>,
               kernels::ThreadPool&) override {}
    ShardProposals proposals;

   private:
    const model::TensorInfo& info_;
    kernels::Pattern empty_;
  };
  const model::TensorInfo& info = registry[registry.layer(0).mlp_c_proj];
  Proposing proposing(info);
  PlainWitness plain;
  Show(&proposing);
  Show(&plain);
  const auto& [positions, scores] = proposing.proposals;
  ASSERT_GT(positions.size(), 100u);
  ASSERT_EQ(scores.size(), positions.size());
  EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
  double error = 0, norm = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const double truth = plain.seen[info.index].gradient[positions[i]];
    error += std::pow(scores[i] - truth, 2);
    norm += truth * truth;
  }
  EXPECT_LE(std::sqrt(error), 128 * 0x1p-24 * std::sqrt(norm));
}

// Every rule looks at one step: what an earlier one showed leaves no trace.
TEST_F(EvidenceTest, IsOfItsOwnStepAlone) {
  config::Settings settings;
  settings.train.shards = 1;
  TrainState state(spec, settings);
  const std::vector<int32_t> mine = tokens, others(tokens.rbegin(), tokens.rend());
  for (const config::Newcomers rule :
       {config::Newcomers::kNorms, config::Newcomers::kVotes, config::Newcomers::kGradient}) {
    settings.sparsity.newcomers = rule;
    const std::unique_ptr<Evidence> used = Evidence::Make(settings, state), fresh = Evidence::Make(settings, state);
    for (const auto& [evidence, step, shown] :
         {std::tuple(used.get(), 3, &others), std::tuple(used.get(), 7, &mine), std::tuple(fresh.get(), 7, &mine)}) {
      tokens = *shown;
      model::GradientWitness* const witness = evidence->Begin(step);
      evidence->BeginShard(0);
      Show(witness);
      evidence->EndShard(0);
      evidence->Finish();
    }
    for (const int tensor : {registry.wte(), registry.layer(0).c_attn, registry.lm_head()}) {
      const EvidenceOf a = used->Of(registry[tensor], 40, pool), b = fresh->Of(registry[tensor], 40, pool);
      EXPECT_EQ(a.rows, b.rows) << registry[tensor].name;
      EXPECT_EQ(a.columns, b.columns) << registry[tensor].name;
      EXPECT_EQ(a.ranked, b.ranked) << registry[tensor].name;
      EXPECT_FALSE(a.rows.empty() && a.ranked.empty()) << registry[tensor].name;
    }
  }
}

// The rule of norms: roots of the sums over a quarter of the tiles (of six, the tiles p and 4 + (p + 1) % 4 at phase
// p), added up over the shards, whose phases follow each other.
TEST_F(EvidenceTest, NormsAreSummedOverShards) {
  config::Settings settings;
  settings.train.shards = 3;
  const TrainState state(spec, settings);
  const std::unique_ptr<Evidence> evidence = Evidence::Make(settings, state);
  model::GradientWitness* witness = evidence->Begin(3);
  const model::TensorInfo& info = registry[registry.layer(1).mlp_c_proj];
  std::vector<std::vector<std::vector<double>>> at(3);  // [shard][phase][row]
  for (int shard = 0; shard < 3; ++shard) {
    if (shard > 0) std::rotate(tokens.begin(), tokens.begin() + kPositions, tokens.end());
    evidence->BeginShard(shard);
    Show(witness);
    evidence->EndShard(shard);
    for (uint64_t phase = 0; phase < 4; ++phase) {
      model::ChannelNorms norms(registry, 4);
      norms.Clear(phase);
      Show(&norms);
      at[shard].push_back(norms.rows(info.index));
    }
  }
  evidence->Finish();
  const EvidenceOf found = evidence->Of(info, 1, pool);
  ASSERT_EQ(static_cast<int64_t>(found.rows.size()), info.rows);
  ASSERT_EQ(static_cast<int64_t>(found.columns.size()), info.cols);
  int phases_that_fit = 0;
  for (int first = 0; first < 4; ++first) {
    bool fits = true;
    for (int64_t r = 0; r < info.rows; ++r) {
      double sum = 0;
      for (int shard = 0; shard < 3; ++shard) sum += at[shard][(first + shard) % 4][r];
      fits = fits && std::abs(found.rows[r] - std::sqrt(sum)) <= 4 * 0x1p-24 * std::sqrt(sum);
    }
    phases_that_fit += fits;
  }
  EXPECT_EQ(phases_that_fit, 1);
}

// Over shards and refreshes all places of a sequence get their turn, also where a shard has few tiles.
TEST_F(EvidenceTest, EveryPlaceOfASequenceIsLookedAt) {
  config::Settings settings;
  settings.train.shards = 2;
  const TrainState state(spec, settings);
  const std::unique_ptr<Evidence> evidence = Evidence::Make(settings, state);
  const model::TensorInfo& info = registry[registry.layer(0).c_fc];
  for (const size_t tiles : {1, 2, 3, 4}) {
    // Tile n has 1 in channel n alone: what is summed says which tiles were taken.
    std::vector<kernels::Buffer<float>> dy, x;
    std::vector<kernels::ConstTile> dy_tiles, x_tiles;
    for (size_t n = 0; n < tiles; ++n) {
      dy.emplace_back(static_cast<size_t>(info.rows) * kernels::kTileTokens);
      x.emplace_back(static_cast<size_t>(info.cols) * kernels::kTileTokens);
      std::fill_n(dy.back().data() + n * kernels::kTileTokens, kernels::kTileTokens, 1.0f);
      dy_tiles.push_back({dy.back().data(), static_cast<int>(info.rows)});
      x_tiles.push_back({x.back().data(), static_cast<int>(info.cols)});
    }
    std::vector<double> taken(tiles, 0);
    for (int64_t step = 9; step < 400; step += 20) {  // refreshes at a multiple of the stride
      model::GradientWitness* witness = evidence->Begin(step);
      for (const int shard : {0, 1}) {
        evidence->BeginShard(shard);
        witness->Matrix(info, dy_tiles, x_tiles, pool);
        evidence->EndShard(shard);
      }
      evidence->Finish();
      const EvidenceOf found = evidence->Of(info, 1, pool);
      double of_step = 0;
      for (size_t n = 0; n < tiles; ++n) {
        taken[n] += found.rows[n] * found.rows[n];
        of_step += found.rows[n] * found.rows[n];
      }
      EXPECT_NEAR(of_step, 2 * kernels::kTileTokens, 1e-3) << tiles << " tiles, step " << step;  // one in each shard
    }
    for (size_t n = 0; n < tiles; ++n) EXPECT_GT(taken[n], 0) << "tile " << n << " of " << tiles;
  }
}

TEST_F(EvidenceTest, WhereAllAreAlikeNothingIsLookedAt) {
  config::Settings settings;
  settings.sparsity.newcomers = config::Newcomers::kRandom;
  const TrainState state(spec, settings);
  const std::unique_ptr<Evidence> evidence = Evidence::Make(settings, state);
  EXPECT_EQ(evidence->Begin(3), nullptr);
  const EvidenceOf found = evidence->Of(registry[registry.lm_head()], 5, pool);
  EXPECT_TRUE(found.rows.empty() && found.columns.empty() && found.ranked.empty());
}

}  // namespace
}  // namespace filigree::train
