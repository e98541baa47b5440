// What a run is said to need is what it then holds, and a run that does not fit is refused with what would.

#include "worker/train/memory.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_model.h"
#include "worker/exchange/gradient_tree.h"
#include "worker/model/arena.h"
#include "worker/model/network.h"
#include "worker/train/candidates.h"
#include "worker/train/refresh_memory.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

config::Settings Settings(int batch, int shards) {
  config::Settings settings;
  settings.sparsity.regime = config::Regime::kExact;
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = 1;
  settings.sparsity.density = settings.sparsity.embedding_density = 1;  // nothing that a sparse start would save
  settings.train.batch = batch;
  settings.train.shards = shards;
  return settings;
}

TEST(Memory, IsWhatTheNetworkAndTheTreeHold) {
  const model::ModelSpec spec = testing_support::SmallSpec();
  const model::Registry registry(spec);
  kernels::ThreadPool pool(1);
  for (const int shards : {1, 2, 3, 4, 5, 7, 8}) {
    const RunMemory said = MemoryOfRun(spec, Settings(2 * shards, shards));
    model::Network network(spec, registry, pool);
    model::Arena weights(registry);
    network.SetWeights(weights);
    const size_t before = network.bytes();
    exchange::GradientTree tree(std::make_shared<model::Layout>(registry.numels()), pool);
    const std::vector<int32_t> tokens(2 * spec.n_ctx, 1);
    tree.Begin();
    for (int shard = 0; shard < shards; ++shard) {
      const exchange::GradientTree::Leaf leaf = tree.NextLeaf();
      tree.Merge(network.LossAndGradient({tokens.data(), 2, spec.n_ctx}, 1, leaf.write, *leaf.gradient));
    }
    EXPECT_EQ(static_cast<size_t>(said.gradients), tree.bytes()) << shards << " shards";
    const auto held = static_cast<double>(network.bytes() - before);
    EXPECT_LE(static_cast<double>(said.activations), held);
    EXPECT_GE(static_cast<double>(said.activations), 0.9 * held);
  }
}

// With threads to spare it takes as much as the passes of a step do, and no more.
TEST(Memory, OfEvaluationsIsWhatTheNetworkHolds) {
  const model::ModelSpec spec = testing_support::SmallSpec();
  const model::Registry registry(spec);
  const std::vector<int32_t> tokens(16 * spec.n_ctx, 1);
  for (const int threads : {1, 3, 16, 64}) {
    config::Settings settings = Settings(4, 2);
    settings.run.threads = threads;
    settings.eval.every = 5;
    settings.eval.sequences = 2;  // but for the last one
    kernels::ThreadPool pool(threads);
    TrainState state(spec, settings);
    Stepper stepper(settings, state, pool);
    const size_t before = stepper.network().bytes();
    stepper.network().Loss({tokens.data(), 16, spec.n_ctx});
    const auto held = static_cast<double>(stepper.network().bytes() - before);
    stepper.network().ReleaseInference();
    EXPECT_EQ(stepper.network().bytes(), before);
    const RunMemory memory = MemoryOfRun(spec, settings);
    const auto said = static_cast<double>(memory.evaluation);
    EXPECT_LE(said, held) << threads;
    EXPECT_GE(said, 0.9 * held) << threads;
    EXPECT_LE(memory.evaluation, memory.activations);
    settings.eval.every = settings.sample.every = 0;
    EXPECT_EQ(memory.total() - MemoryOfRun(spec, settings).total(), memory.evaluation);
    settings.sample.every = 10;
    const int64_t sample = MemoryOfRun(spec, settings).evaluation;
    EXPECT_EQ(memory.evaluation % sample, 0);
    EXPECT_LE(memory.evaluation, threads * sample);
    settings.sample.every = 0;
    EXPECT_EQ(MemoryOfRun(spec, settings).evaluation, 0);
  }
}

// Scratch of a thread is not counted: it is of a sequence, and of sixteen a small part.
TEST(Memory, ActivationsAsBf16TakeWhatTheNetworkHolds) {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.n_layer = 4;
  const auto held_and_said = [&](config::ActivationStorage storage) {
    spec.activation_storage = storage;
    const model::Registry registry(spec);
    kernels::ThreadPool pool(1);
    model::Network network(spec, registry, pool);
    model::Arena weights(registry), gradient(registry);
    network.SetWeights(weights);
    const size_t before = network.bytes();
    const std::vector<int32_t> tokens(16 * spec.n_ctx, 1);
    network.LossAndGradient({tokens.data(), 16, spec.n_ctx}, 1, model::Network::Write::kOverwrite, gradient);
    const auto held = static_cast<double>(network.bytes() - before);
    const auto said = static_cast<double>(MemoryOfRun(spec, Settings(16, 1)).activations);
    EXPECT_LE(said, held);
    EXPECT_GE(said, 0.9 * held);
    return said;
  };
  const double fp32 = held_and_said(config::ActivationStorage::kFp32);
  const double bf16 = held_and_said(config::ActivationStorage::kBf16);
  // Of 16 sequences of two tiles in 4 layers: 2 (D + P) + 4 HK + 2 F numbers, two bytes each.
  EXPECT_EQ(fp32 - bf16, 16 * 2 * 64.0 * 4 * (2 * 28 + 4 * 15 + 2 * 37) * 2);
}

TEST(Memory, WhatLooksForNewcomersWidensTheInputsOfOneMatrix) {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.activation_storage = config::ActivationStorage::kBf16;
  config::Settings settings = Settings(4, 2);
  settings.sparsity.regime = config::Regime::kActive;
  const int64_t with = MemoryOfRun(spec, settings).activations;
  settings.sparsity.newcomers = config::Newcomers::kRandom;
  EXPECT_EQ(with - MemoryOfRun(spec, settings).activations, 2 * 2 * 64 * 37 * 4);
}

TEST(Memory, ARunThatDoesNotFitIsRefusedWithWhatWould) {
  model::ModelSpec spec = testing_support::SmallSpec();
  const config::Settings train = Settings(8, 2);
  const RunMemory need = MemoryOfRun(spec, train);
  EXPECT_TRUE(CheckMemory(spec, train, need.total()).ok());

  // Smaller shards are enough: four sequences' activations go.
  const absl::Status shards = CheckMemory(spec, train, need.total() - 1);
  EXPECT_EQ(shards.code(), absl::StatusCode::kInvalidArgument);
  const std::string text(shards.message());
  EXPECT_NE(text.find("train.shards = "), std::string::npos) << text;

  // The state alone is too large: a narrower model is named, and it fits.
  spec.n_head = 64;
  spec.d_head = 16;
  spec.d_model = 1024;
  spec.d_mlp = 4096;
  const int64_t little = MemoryOfRun(spec, train).state / 2;
  const std::string wide(CheckMemory(spec, train, little).message());
  const std::string key = "model.d_model = ";
  ASSERT_NE(wide.find(key), std::string::npos) << wide;
  spec.d_model = std::stoi(wide.substr(wide.find(key) + key.size()));
  EXPECT_EQ(spec.d_model % 16, 0);
  spec.n_head = spec.d_model / 16;
  spec.d_mlp = 4 * spec.d_model;
  EXPECT_TRUE(CheckMemory(spec, train, little).ok()) << wide;
}

// What is named may be given: shards up to the most there may be, widths that groups cut evenly, and to a run that goes
// on nothing that it began with.
TEST(Memory, AdvisesOnlyWhatMayBeGiven) {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.n_layer = 1;
  spec.n_head = 60;
  spec.d_head = 16;
  spec.d_model = 960;
  spec.d_mlp = 3840;
  spec.tensor_groups = 4;
  config::Settings settings = Settings(20000, 1);
  settings.sparsity.regime = config::Regime::kActive;
  settings.run.threads = 1;
  config::Settings most = settings;
  most.train.shards = 4096;
  const int64_t least = MemoryOfRun(spec, most).total();
  const std::string shards(CheckMemory(spec, settings, least).message());
  EXPECT_NE(shards.find("train.shards = 4096 would fit"), std::string::npos) << shards;
  const std::string narrower(CheckMemory(spec, settings, least * 2 / 3).message());
  EXPECT_EQ(narrower.find("train.shards"), std::string::npos) << narrower;

  settings.train.batch = settings.train.shards = 4;
  spec.activation_storage = config::ActivationStorage::kBf16;
  const std::string key = "model.d_model = ";
  const int64_t half = MemoryOfRun(spec, settings).total() / 2;
  const std::string narrow(CheckMemory(spec, settings, half).message());
  ASSERT_NE(narrow.find(key), std::string::npos) << narrow;
  EXPECT_EQ(std::stoi(narrow.substr(narrow.find(key) + key.size())) % (4 * 16), 0) << narrow;

  settings.eval.every = 0;
  settings.sample.every = 0;
  const std::string later(CheckMemory(spec, settings, half / 4, parallel::Grid(), 0, /*from=*/5).message());
  for (const char* fixed : {"train.shards =", "model.d_model", "density_start", "n_ctx", "train.batch"}) {
    EXPECT_EQ(later.find(fixed), std::string::npos) << later;
  }
  EXPECT_NE(later.find("parallel.tensor"), std::string::npos) << later;
}

// 1.6 G block parameters at 1/1024 fit where the exact regime would want thirty gigabytes.
TEST(Memory, OfARunThatStartsSparseFollowsItsCandidates) {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.n_layer = 8;
  spec.n_head = 256;
  spec.d_head = 16;
  spec.d_model = 4096;
  spec.d_mlp = 16384;
  spec.d_pos_emb = 0;
  spec.vocab = 2048;
  spec.n_ctx = 256;
  config::Settings settings = Settings(16, 16);
  settings.sparsity.density = 1.0 / 1024;
  settings.sparsity.embedding_density = 1.0 / 128;
  const int64_t exact = MemoryOfRun(spec, settings).total();
  EXPECT_GT(exact, int64_t{30} << 30);
  const absl::Status refused = CheckMemory(spec, settings, int64_t{4} << 30);
  EXPECT_NE(std::string(refused.message()).find("sparsity.regime = \"active\" would fit"), std::string::npos)
      << refused;

  settings.sparsity.regime = config::Regime::kActive;
  settings.sparsity.anneal_shape = config::AnnealShape::kConstant;
  const RunMemory active = MemoryOfRun(spec, settings);
  EXPECT_LT(active.total(), int64_t{4} << 30);
  EXPECT_EQ(active.candidates, 4 * ((1610612736 >> 10) + 2 * ((2048 * 4096) >> 7)));
  EXPECT_EQ(active.state,
            3 * 4 * (active.candidates + 2048 * 2048 + 8 * (2 * 4096 + 3 * 4096 + 256 + 4096 + 16384 + 4096) + 4096));
}

// What others add of a gradient is there at once, or a bucket of it; which of both "auto" will be is not known.
TEST(Memory, AnExchangeBesideBackwardHoldsABucketAndOneAfterItAll) {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.n_layer = 8;
  spec.d_model = 1024;
  spec.n_head = 64;
  spec.d_head = 16;
  spec.d_mlp = 4096;
  spec.d_pos_emb = 0;
  config::Settings settings = Settings(16, 16);
  settings.sparsity.regime = config::Regime::kActive;
  settings.sparsity.density = 1.0 / 16;
  settings.sparsity.anneal_shape = config::AnnealShape::kConstant;
  const auto messages = [&](config::Overlap overlap) {
    settings.parallel.overlap = overlap;
    return MemoryOfRank(spec, settings, parallel::Grid{.data = 2}, 0).messages;
  };
  const int64_t beside = messages(config::Overlap::kOn), after = messages(config::Overlap::kOff);
  EXPECT_GT(after, 4 * beside);
  EXPECT_GT(after, int64_t{10} << 20);
  EXPECT_EQ(messages(config::Overlap::kAuto), after);
}

// The oracle forms dense gradients: the run that fits with norms is refused with it.
TEST(Memory, CountsWhatIsLookedAtForNewcomers) {
  const model::ModelSpec spec = testing_support::SmallSpec();
  config::Settings settings = Settings(4, 2);
  settings.sparsity.regime = config::Regime::kActive;
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = 0.1;
  settings.sparsity.density = settings.sparsity.embedding_density = 0.1;
  const auto total = [&](config::Newcomers rule) {
    settings.sparsity.newcomers = rule;
    return MemoryOfRun(spec, settings).total();
  };
  const int64_t norms = total(config::Newcomers::kNorms);
  int64_t matrices = 0, candidates = 0;
  const model::Registry registry(spec);
  for (const model::TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    matrices += info.numel();
    candidates += FirstCandidates(settings, info);
  }
  EXPECT_EQ(total(config::Newcomers::kRandom), norms);
  EXPECT_EQ(total(config::Newcomers::kGradient), norms + 4 * matrices);
  EXPECT_EQ(total(config::Newcomers::kVotes), norms + 4 * 8 * candidates);
  settings.sparsity.refresh_every = 0;
  EXPECT_EQ(total(config::Newcomers::kGradient), total(config::Newcomers::kNorms));
}

// Dense weights are there twice until candidates are chosen; a sparse checkpoint's are few.
TEST(Memory, ToChooseTheFirstCandidatesIsThatOfTheWeightsGiven) {
  const model::ModelSpec spec = testing_support::SmallSpec();
  const model::Registry registry(spec);
  config::Settings settings = Settings(4, 2);
  std::vector<GivenTensor> dense, sparse;
  int64_t numel = 0, largest = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    numel += info.numel();
    if (MayHaveCandidates(info)) largest = std::max(largest, info.numel());
    dense.push_back({info.numel(), false});
    sparse.push_back(MayHaveCandidates(info) ? GivenTensor{info.numel() / 10, true} : dense.back());
  }
  EXPECT_EQ(MemoryOfFirstChoice(settings, registry, dense, 1), 0);  // the exact regime has none
  settings.sparsity.regime = config::Regime::kActive;
  settings.sparsity.density_start = settings.sparsity.embedding_density_start = 0.01;
  settings.sparsity.density = settings.sparsity.embedding_density = 0.01;
  EXPECT_GE(MemoryOfFirstChoice(settings, registry, dense, 1), 8 * numel + 4 * largest);
  EXPECT_LE(MemoryOfFirstChoice(settings, registry, dense, 1), 10 * numel + 4 * largest);
  EXPECT_LT(MemoryOfFirstChoice(settings, registry, sparse, 1), MemoryOfFirstChoice(settings, registry, dense, 1) / 2);
}

}  // namespace
}  // namespace filigree::train
