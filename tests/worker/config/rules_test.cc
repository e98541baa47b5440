#include "worker/config/rules.h"

#include <gtest/gtest.h>

#include "worker/config/load.h"

// Rules that join keys: each is broken once, with the message a user sees, and held once at its edge.

namespace filigree::config {
namespace {

void ExpectRefused(const std::vector<std::string>& overrides, const std::string& message) {
  const auto settings = Parse("", "", overrides);
  ASSERT_FALSE(settings.ok()) << message;
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(settings.status().message()), message);
}

void ExpectTaken(const std::vector<std::string>& overrides) {
  const auto settings = Parse("", "", overrides);
  EXPECT_TRUE(settings.ok()) << settings.status();
}

TEST(Rules, EveryRegimeIsTaken) {
  ExpectTaken({"--sparsity.regime=active"});
  ExpectTaken({"--sparsity.regime=exact"});
  ExpectTaken({"--sparsity.regime=auto"});
}

TEST(Rules, AutoIsActiveWhereAGivenStartIsSparse) {
  const auto regime = [](const std::vector<std::string>& overrides) {
    return Parse("", "", overrides)->sparsity.regime;
  };
  EXPECT_EQ(regime({"--sparsity.density_start=1"}), Regime::kExact);
  EXPECT_EQ(regime({"--sparsity.density_start=0.125"}), Regime::kActive);
  EXPECT_EQ(regime({"--sparsity.density_start=0.125", "--sparsity.candidates=8"}), Regime::kExact);
  EXPECT_EQ(regime({"--sparsity.anneal_shape=constant"}), Regime::kActive);
  EXPECT_EQ(regime({"--sparsity.density_start=0.125", "--sparsity.regime=exact"}), Regime::kExact);
}

TEST(Rules, WidthIsAMultipleOfTheHead) {
  ExpectRefused(
      {"--model.d_model=250"},
      "--model.d_model=250: model.d_model 250 is not a multiple of model.d_head 16; d_model 240 and 256 would "
      "be, or d_head 10 and 25");
  ExpectRefused(
      {"--model.d_model=8"},
      "--model.d_model=8: model.d_model 8 is not a multiple of model.d_head 16; d_model 16 would be, or d_head "
      "8");
  ExpectRefused(
      {"--model.d_head=7"},
      "--model.d_head=7: model.d_model 256 is not a multiple of model.d_head 7; d_model 252 and 259 would be, "
      "or d_head 4 and 8");
  ExpectTaken({"--model.d_model=240"});
  ExpectTaken({"--model.d_model=250", "--model.d_head=25"});
}

TEST(Rules, AbsTopkKeepsAtLeastOneChannelWhereItActs) {
  ExpectRefused({"--model.afrac=1/257"},
                "--model.afrac=1/257: model.afrac 0.0038910505836575876 keeps none of the 256 channels at attn_in: "
                "floor(afrac * 256) is 0; at least 1/256 is needed");
  ExpectTaken({"--model.afrac=1/256"});
  ExpectTaken({"--model.afrac=1/257", "--model.topk_places=mlp_neuron"});
  ExpectTaken({"--model.afrac=1/257", "--model.topk_places=attn_in,mlp_in", "--model.d_pos_emb=1"});
  ExpectTaken({"--model.afrac=1/257", "--model.topk_places="});
  ExpectRefused(
      {"--model.afrac=0.01", "--model.d_mlp=64", "--model.topk_places=mlp_neuron"},
      "--model.afrac=0.01: model.afrac 0.01 keeps none of the 64 channels at mlp_neuron: floor(afrac * 64) is "
      "0; at least 1/64 is needed");
  ExpectTaken({"--model.d_mlp=32768"});
  ExpectRefused({"--model.d_mlp=32769"},
                "--model.d_mlp=32769: AbsTopK at mlp_neuron has 32769 channels, at most 32768 are possible; take "
                "model.d_mlp 32768 or fewer, or leave mlp_neuron out of model.topk_places");
  ExpectTaken({"--model.d_mlp=65536", "--model.afrac=1"});
  ExpectTaken({"--model.d_mlp=65536", "--model.topk_places=attn_in"});
}

TEST(Rules, TensorGroupsDivideTheHeads) {
  ExpectRefused({"--model.tensor_groups=3"},
                "--model.tensor_groups=3: model.tensor_groups 3 does not cut 16 heads (d_model / d_head) and 1024 "
                "neurons into groups; would fit: 1, 2, 4, 8, 16");
  ExpectRefused({"--model.tensor_groups=8", "--model.d_mlp=4"},
                "--model.tensor_groups=8: model.tensor_groups 8 does not cut 16 heads (d_model / d_head) and 4 "
                "neurons into groups; would fit: 1, 2, 4");
  ExpectTaken({"--model.tensor_groups=16"});
  ExpectTaken({"--model.tensor_groups=3", "--model.d_model=240"});
}

TEST(Rules, AnnealEndsAfterItStarts) {
  ExpectRefused(
      {"--sparsity.anneal_start=0.6"},
      "--sparsity.anneal_start=0.6: sparsity.anneal_start 0.6 is not below sparsity.anneal_end 0.6; by default "
      "they are 0.01 and 0.5 or, in the active regime, 0.6; anneal_shape \"constant\" has the final density from "
      "the first step");
  ExpectTaken({"--sparsity.anneal_start=0", "--sparsity.anneal_end=1"});
}

TEST(Rules, LargestEntriesAreOfAWholeModel) {
  ExpectRefused({"--parallel.exchange=top-k", "--parallel.tensor=2", "--model.tensor_groups=2"},
                "--parallel.exchange=top-k: parallel.exchange \"top-k\" is for ranks that have the whole model, and "
                "parallel.tensor is 2; take parallel.tensor 1, or exchange \"tree\" with wire \"bf16\"");
  ExpectTaken({"--parallel.exchange=balanced"});
  ExpectTaken({"--parallel.wire=bf16", "--parallel.tensor=2", "--model.tensor_groups=2"});
}

TEST(Rules, MatricesKeepAtLeastOneWeight) {
  ExpectRefused({"--sparsity.density=1/65537"},
                "--sparsity.density=1/65537: sparsity.density 1.5258556235409006e-05 keeps no weight of a matrix of "
                "65536; at least 1/65536 is needed");
  ExpectTaken({"--sparsity.density=1/65536"});
  const auto start = Parse("", "", {"--sparsity.density_start=1e-9"});
  EXPECT_FALSE(start.ok());
  const auto embedding = Parse("", "", {"--sparsity.embedding_density=1e-9"});
  EXPECT_FALSE(embedding.ok());
  const auto embedding_start = Parse("", "", {"--sparsity.embedding_density_start=1e-9"});
  EXPECT_FALSE(embedding_start.ok());
}

TEST(Rules, MinAliveFitsAUnit) {
  ExpectRefused(
      {"--sparsity.min_alive=257"},
      "--sparsity.min_alive=257: sparsity.min_alive 257 is more than the 256 entries (d_model) of a unit; 4 is "
      "the default, at most 256 is possible");
  ExpectTaken({"--sparsity.min_alive=256"});
}

TEST(Rules, EveryShardHasASequence) {
  ExpectRefused(
      {"--train.batch=3"},
      "--train.batch=3: train.shards 4 is more than train.batch 3: a shard needs a sequence; take shards 3 or "
      "fewer, or batch 4 or more");
  ExpectTaken({"--train.batch=4"});
  ExpectTaken({"--train.batch=1", "--train.shards=1"});
}

TEST(Rules, TokensOfAStepAreCountable) {
  ExpectRefused({"--train.batch=1000000", "--model.n_ctx=16384"},
                "--train.batch=1000000: train.batch 1000000 * model.n_ctx 16384 are 16384000000 tokens a step, at most "
                "2147483647 are possible; take a batch of 131071 or fewer");
  ExpectTaken({"--train.batch=131071", "--model.n_ctx=16384"});
}

TEST(Rules, MessagePointsIntoTheFile) {
  const auto settings = Parse("[model]\nd_head = 16\nd_model = 250\n", "a.toml");
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(std::string(settings.status().message()).substr(0, 25), "a.toml:3:1: model.d_model");
}

TEST(Validate, ChecksStructsThatNobodyParsed) {
  Settings settings;
  EXPECT_TRUE(Validate(settings).ok());
  settings.optim.lr = -1;
  EXPECT_EQ(Validate(settings).code(), absl::StatusCode::kInvalidArgument);
  settings = Settings();
  settings.model.topk_places = {"nowhere"};
  EXPECT_FALSE(Validate(settings).ok());
  settings = Settings();
  settings.model.activation = static_cast<Activation>(9);
  EXPECT_FALSE(Validate(settings).ok());
  settings = Settings();
  settings.train.shards = 17;
  EXPECT_FALSE(Validate(settings).ok());
}

TEST(RequirePaths, NamesTheMissingKey) {
  Settings settings;
  EXPECT_EQ(std::string(RequirePaths(settings).message()).substr(0, 7), "run.dir");
  settings.run.dir = "runs/a";
  EXPECT_EQ(std::string(RequirePaths(settings).message()).substr(0, 8), "data.dir");
  settings.data.dir = "data/a";
  EXPECT_TRUE(RequirePaths(settings).ok());
}

TEST(Rules, ShardsOfVotesCountTheirTokens) {
  // 768 sequences of 256 tokens are 196608.
  const std::vector<std::string> votes = {"--sparsity.regime=active", "--sparsity.newcomers=votes", "--train.shards=1"};
  const auto with = [&](const std::string& more) {
    std::vector<std::string> all = votes;
    all.push_back(more);
    return all;
  };
  ExpectTaken(with("--train.batch=768"));
  ExpectRefused(with("--train.batch=769"),
                "--sparsity.newcomers=votes: sparsity.newcomers \"votes\" takes shards of at most 196608 tokens, and "
                "these have 196864; take train.shards 2 or more, or newcomers \"norms\"");
  ExpectTaken({"--sparsity.regime=active", "--train.shards=1", "--train.batch=769"});
  ExpectRefused(
      {"--sparsity.regime=active", "--sparsity.newcomers=proposals", "--train.shards=1", "--train.batch=769"},
      "--sparsity.newcomers=proposals: sparsity.newcomers \"proposals\" takes shards of at most 196608 tokens, "
      "and these have 196864; take train.shards 2 or more, or newcomers \"norms\"");
}

TEST(Rules, UnitsCanBeFilledUpWhileADensityRises) {
  const std::string message =
      "--sparsity.candidates=1: sparsity.candidates 1 leaves no candidates that units could be filled up with to "
      "min_alive 4 while the density rises; take candidates 1.25 or more, or min_alive 0";
  ExpectRefused({"--sparsity.regime=active", "--sparsity.density=1/8", "--sparsity.density_start=1/256",
                 "--sparsity.candidates=1"},
                message);
  ExpectTaken({"--sparsity.regime=active", "--sparsity.density=1/8", "--sparsity.density_start=1/256",
               "--sparsity.candidates=1.25"});
  ExpectTaken({"--sparsity.regime=active", "--sparsity.density=1/8", "--sparsity.density_start=1/256",
               "--sparsity.candidates=1", "--sparsity.min_alive=0"});
  ExpectTaken({"--sparsity.regime=active", "--sparsity.density=1/64", "--sparsity.density_start=1/8",
               "--sparsity.embedding_density_start=1", "--sparsity.candidates=1"});
}

TEST(Rules, WhatBeginsWholeIsNarrowedByARefresh) {
  ExpectRefused(
      {"--sparsity.regime=active", "--sparsity.density=1/64", "--sparsity.density_start=1", "--sparsity.candidates=2",
       "--sparsity.refresh_every=0"},
      "--sparsity.refresh_every=0: sparsity.refresh_every 0: a matrix that begins whole (candidates 2.0 times "
      "its first density is 1 or more) would stay so to the end, as only a refresh takes it to its "
      "candidates; take refresh_every 10, a lower density_start, or dense_phase false");
  ExpectTaken({"--sparsity.regime=active", "--sparsity.density=1/64", "--sparsity.density_start=1",
               "--sparsity.candidates=2", "--sparsity.refresh_every=0", "--sparsity.dense_phase=false"});
  // Everything is a candidate to the end.
  ExpectTaken({"--sparsity.regime=active", "--sparsity.density=1/64", "--sparsity.density_start=1",
               "--sparsity.candidates=65536", "--sparsity.refresh_every=0"});
}

TEST(Rules, DenseTravelsAsFloats) {
  ExpectRefused({"--parallel.exchange=dense", "--parallel.wire=bf16"},
                "--parallel.wire=bf16: parallel.exchange \"dense\" sends fp32 values; take parallel.wire \"fp32\", or "
                "exchange \"tree\" with wire \"bf16\"");
  ExpectTaken({"--parallel.exchange=dense"});
}

TEST(Rules, EpsilonIsAFloatAboveZero) {
  EXPECT_FALSE(Parse("", "", {"--optim.eps=1e-46"}).ok());
  ExpectTaken({"--optim.eps=1e-30"});
}

TEST(Rules, ProposalsAreOfAWholeModel) {
  const std::vector<std::string> shared = {"--sparsity.regime=active", "--sparsity.newcomers=proposals",
                                           "--model.tensor_groups=2", "--parallel.tensor=2"};
  ExpectRefused(
      shared,
      "--sparsity.newcomers=proposals: sparsity.newcomers \"proposals\" is for ranks that have the whole model, "
      "and parallel.tensor is 2; take parallel.tensor 1, or newcomers \"norms\"");
  ExpectTaken({shared[0], shared[1], shared[2]});
  ExpectTaken({"--sparsity.regime=exact", shared[1], shared[2], shared[3]});
}

}  // namespace
}  // namespace filigree::config
