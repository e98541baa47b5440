#include "worker/mask/mask_set.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/csr/pattern.h"
#include "kernels/shared_topk/shared_topk.h"
#include "tests/support/small_model.h"

namespace filigree::mask {
namespace {

using testing_support::FillWeights;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 7;

int64_t Ones(const std::vector<uint64_t>& mask) {
  int64_t ones = 0;
  for (const uint64_t word : mask) ones += std::popcount(word);
  return ones;
}

bool Bit(const uint64_t* bits, int64_t i) { return bits[i / 64] >> (i % 64) & 1; }

// Indices of the `count` largest |w| among `candidates`, the lower index first where equal.
std::vector<int64_t> Largest(const float* w, std::vector<int64_t> candidates, int64_t count) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [w](int64_t a, int64_t b) { return std::fabs(w[a]) > std::fabs(w[b]); });
  candidates.resize(std::min<int64_t>(count, static_cast<int64_t>(candidates.size())));
  return candidates;
}

// The definition: every unit's j largest, then the largest of the rest.
std::vector<bool> PlainMask(const model::TensorInfo& info, const float* w, double density, int64_t min_alive) {
  const auto k = static_cast<int64_t>(std::floor(density * static_cast<double>(info.numel())));
  std::vector<bool> kept(info.numel(), false);
  std::vector<std::vector<int64_t>> units;
  if (info.unit == kernels::Unit::kRow) units.resize(info.rows);
  if (info.unit == kernels::Unit::kColumn) units.resize(info.cols);
  for (int64_t i = 0; i < info.numel() && !units.empty(); ++i) {
    units[info.unit == kernels::Unit::kRow ? i / info.cols : i % info.cols].push_back(i);
  }
  int64_t count = 0;
  const int64_t j = units.empty() ? 0 : std::min(min_alive, k / static_cast<int64_t>(units.size()));
  for (const std::vector<int64_t>& unit : units) {
    for (const int64_t i : Largest(w, unit, j)) kept[i] = true, ++count;
  }
  std::vector<int64_t> rest;
  for (int64_t i = 0; i < info.numel(); ++i) {
    if (!kept[i]) rest.push_back(i);
  }
  for (const int64_t i : Largest(w, rest, k - count)) kept[i] = true;
  return kept;
}

struct Fixture {
  explicit Fixture(int threads = 1, config::Biases biases = config::Biases::kDense, int64_t min_alive = 2,
                   config::MaskScope scope = config::MaskScope::kMatrix)
      : registry(SmallSpec()), weights(registry), masks(registry, min_alive, biases, scope), pool(threads) {
    FillWeights(registry, kSeed, 0.1f, weights);
  }
  const model::Registry registry;
  model::Arena weights;
  MaskSet masks;
  kernels::ThreadPool pool;
};

// One update against the definition, every tensor.
void ExpectUpdate(Fixture& f, const Densities& densities, float decay, int64_t min_alive, bool sparse_biases) {
  model::Arena old(f.registry);
  std::memcpy(old.data(), f.weights.data(), f.weights.size() * sizeof(float));
  f.masks.Update(densities, decay, f.pool, f.weights);
  for (int t = 0; t < f.registry.size(); ++t) {
    const model::TensorInfo& info = f.registry[t];
    SCOPED_TRACE(testing::Message() << info.name << ", seed " << kSeed << ", f_w " << densities.weight);
    const bool follows = info.density == model::Density::kWeight || info.density == model::Density::kEmbedding ||
                         (info.density == model::Density::kBias && sparse_biases);
    const double density = info.density == model::Density::kEmbedding ? densities.embedding : densities.weight;
    EXPECT_EQ(f.masks.sparsified(t), follows);
    const float *w = f.weights.tensor(info), *w0 = old.tensor(info);
    if (!follows || density == 1) {
      EXPECT_EQ(f.masks.kept(t), nullptr);
      EXPECT_EQ(f.masks.nonzeros(t), info.numel());
      EXPECT_EQ(std::memcmp(w, w0, info.numel() * sizeof(float)), 0);
      continue;
    }
    ASSERT_NE(f.masks.kept(t), nullptr);
    const std::vector<bool> kept = PlainMask(info, w0, density, min_alive);
    EXPECT_EQ(f.masks.nonzeros(t), std::count(kept.begin(), kept.end(), true));
    const float factor = info.shape.size() == 2 ? decay : 1.0f;
    for (int64_t i = 0; i < info.numel(); ++i) {
      ASSERT_EQ(Bit(f.masks.kept(t), i), kept[i]) << "entry " << i;
      ASSERT_EQ(w[i], kept[i] ? w0[i] * factor : 0.0f) << "entry " << i;
    }
  }
}

TEST(MaskSet, FollowsTheDefinitionThroughAnAnneal) {
  for (const bool sparse : {false, true}) {
    Fixture f(1, sparse ? config::Biases::kSparse : config::Biases::kDense);
    testing_support::Rng rng(kSeed + 1);
    for (const double density : {1.0, 0.9, 0.5, 0.24, 0.11, 0.06}) {
      ExpectUpdate(f, {density, std::sqrt(density)}, 0.9f, 2, sparse);
      // Adam moves every weight, masked ones included.
      for (int64_t i = 0; i < f.weights.size(); ++i) f.weights.data()[i] += 0.05f * rng.Normal();
    }
  }
}

TEST(MaskSet, LowersMinAliveWhereKIsTooSmall) {
  Fixture f(1, config::Biases::kDense, 100);
  ExpectUpdate(f, {0.2, 0.3}, 1, 100, false);
}

TEST(MaskSet, TiesGoToTheLowerIndex) {
  Fixture f;
  for (int64_t i = 0; i < f.weights.size(); ++i) f.weights.data()[i] = i % 3 == 0 ? 0.5f : i % 3 == 1 ? -0.5f : 0.0f;
  ExpectUpdate(f, {0.7, 0.8}, 1, 2, false);
}

TEST(MaskSet, TheSameBitsForAnyNumberOfThreads) {
  Fixture one(1), two(2), four(4);
  for (const double density : {0.7, 0.3, 0.1}) {
    for (Fixture* f : {&one, &two, &four}) {
      f->masks.Update({density, density}, 0.99f, f->pool, f->weights);
      EXPECT_EQ(std::memcmp(f->weights.data(), one.weights.data(), one.weights.size() * sizeof(float)), 0);
      for (int t = 0; t < one.registry.size(); ++t) {
        const uint64_t *a = f->masks.kept(t), *b = one.masks.kept(t);
        ASSERT_EQ(a == nullptr, b == nullptr);
        if (a == nullptr) continue;
        EXPECT_EQ(std::memcmp(a, b, (one.registry[t].numel() + 63) / 64 * sizeof(uint64_t)), 0);
        EXPECT_EQ(f->masks.threshold(t).value, one.masks.threshold(t).value);
      }
    }
  }
}

TEST(MaskSet, ForetellsWhatUpdateDoes) {
  for (const double density : {1.0, 0.99999, 0.5}) {
    Fixture f;
    const Densities densities = {density, 1};
    std::vector<bool> told;
    told.reserve(f.registry.size());
    for (int t = 0; t < f.registry.size(); ++t) told.push_back(f.masks.WillMask(t, densities, f.weights.layout()));
    f.masks.Update(densities, 1, f.pool, f.weights);
    for (int t = 0; t < f.registry.size(); ++t) EXPECT_EQ(told[t], f.masks.kept(t) != nullptr) << f.registry[t].name;
  }
}

TEST(MaskSet, AMaskGoesWhereDensityReturnsToOne) {
  Fixture f;
  f.masks.Update({0.5, 0.5}, 1, f.pool, f.weights);
  ASSERT_NE(f.masks.kept(f.registry.lm_head()), nullptr);
  f.masks.Update({1, 1}, 1, f.pool, f.weights);
  EXPECT_EQ(f.masks.kept(f.registry.lm_head()), nullptr);
  EXPECT_EQ(f.masks.nonzeros(f.registry.lm_head()), f.registry[f.registry.lm_head()].numel());
}

TEST(MaskSet, ARestoredSetGoesOnAsIfNothingHadHappened) {
  Fixture a, b;
  a.masks.Update({0.4, 0.5}, 0.9f, a.pool, a.weights);
  std::memcpy(b.weights.data(), a.weights.data(), a.weights.size() * sizeof(float));
  for (int t = 0; t < a.registry.size(); ++t) {
    b.masks.Restore(t, a.masks.kept(t), a.registry[t].numel(), a.masks.threshold(t));
    EXPECT_EQ(b.masks.nonzeros(t), a.masks.nonzeros(t)) << a.registry[t].name;
    EXPECT_EQ(b.masks.kept(t) == nullptr, a.masks.kept(t) == nullptr);
    EXPECT_EQ(b.masks.threshold(t).value, a.masks.threshold(t).value);
  }
  for (Fixture* f : {&a, &b}) f->masks.Update({0.2, 0.3}, 0.9f, f->pool, f->weights);
  EXPECT_EQ(std::memcmp(a.weights.data(), b.weights.data(), a.weights.size() * sizeof(float)), 0);
  EXPECT_EQ(a.masks.bytes(), b.masks.bytes());
}

// Scope global: of every tensor that shares, the mask of the definition (kernels/shared_topk), each with the j of its
// own k. Whole tensors, or on candidates where `layout` has them.
std::vector<std::vector<uint64_t>> SharedMasks(const model::Registry& registry, const model::Arena& weights,
                                               double density, int64_t min_alive) {
  std::vector<kernels::SharingMatrix> matrices;
  std::vector<std::vector<uint64_t>> masks;
  int64_t k = 0, entries = 0;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.density != model::Density::kWeight) continue;
    const int64_t own = KeptEntries(density, info.numel());
    matrices.push_back({weights.tensor(info), info.rows, info.cols, weights.layout().candidates(info.index),
                        static_cast<int>(EffectiveMinAlive(info, own, min_alive).j), info.unit});
    k += own;
    entries += matrices.back().entries();
    masks.emplace_back((matrices.back().entries() + 63) / 64);
  }
  std::vector<uint64_t*> kept;
  kept.reserve(masks.size());
  for (std::vector<uint64_t>& mask : masks) kept.push_back(mask.data());
  kernels::ref::SelectSharing(matrices, std::min(k, entries), kept);
  return masks;
}

// One update with scope global: matrices against the definition, all others against scope matrix.
void ExpectSharedUpdate(Fixture& f, const Densities& densities, int64_t min_alive) {
  const auto expected = SharedMasks(f.registry, f.weights, densities.weight, min_alive);
  model::Arena old(f.registry), others(f.registry);
  for (model::Arena* copy : {&old, &others}) {
    std::memcpy(copy->data(), f.weights.data(), f.weights.size() * sizeof(float));
  }
  MaskSet alone(f.registry, min_alive, config::Biases::kSparse);
  alone.Update(densities, 0.9f, f.pool, others);
  f.masks.Update(densities, 0.9f, f.pool, f.weights);
  auto next = expected.begin();
  int64_t kept = 0, k = 0;
  for (const model::TensorInfo& info : f.registry.tensors()) {
    SCOPED_TRACE(testing::Message() << info.name << ", seed " << kSeed << ", f_w " << densities.weight);
    const int64_t stored = f.weights.layout().stored(info.index);
    if (info.density != model::Density::kWeight) {
      EXPECT_EQ(std::memcmp(f.weights.tensor(info), others.tensor(info), stored * sizeof(float)), 0);
      EXPECT_EQ(f.masks.nonzeros(info.index), alone.nonzeros(info.index));
      continue;
    }
    const std::vector<uint64_t>& mask = *next++;
    const int64_t ones = Ones(mask);
    EXPECT_EQ(f.masks.nonzeros(info.index), ones);
    kept += ones;
    k += KeptEntries(densities.weight, info.numel());
    ASSERT_EQ(f.masks.kept(info.index) == nullptr, densities.weight == 1);
    for (int64_t e = 0; e < stored; ++e) {
      const float w0 = old.tensor(info)[e], w = f.weights.tensor(info)[e];
      if (f.masks.kept(info.index) == nullptr) {
        ASSERT_EQ(w, w0) << "it decays elsewhere";
        continue;
      }
      ASSERT_EQ(Bit(f.masks.kept(info.index), e), Bit(mask.data(), e)) << "entry " << e;
      ASSERT_EQ(w, Bit(mask.data(), e) ? w0 * 0.9f : 0.0f) << "entry " << e;
    }
  }
  EXPECT_EQ(kept, k);
}

TEST(MaskSet, AMatrixKeepsItsShareWhereTheScopeIsGlobal) {
  Fixture f(2, config::Biases::kSparse, 2, config::MaskScope::kGlobal);
  testing_support::Rng rng(kSeed + 1);
  // Some matrices are larger than others, by layer.
  for (const model::TensorInfo& info : f.registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) f.weights.tensor(info)[i] *= 1 + static_cast<float>(info.index % 5);
  }
  for (const double density : {1.0, 0.9, 0.5, 0.24, 0.11, 0.06, 0.2}) {
    ExpectSharedUpdate(f, {density, std::sqrt(density)}, 2);
    for (int64_t i = 0; i < f.weights.size(); ++i) f.weights.data()[i] += 0.05f * rng.Normal();
  }
}

TEST(MaskSet, SharesTiesZerosAndMatricesBelowTheirMinAlive) {
  for (const int64_t min_alive : {int64_t{0}, int64_t{2}, int64_t{100}}) {
    Fixture f(1, config::Biases::kSparse, min_alive, config::MaskScope::kGlobal);
    for (int64_t i = 0; i < f.weights.size(); ++i) f.weights.data()[i] = i % 3 == 0 ? 0.5f : i % 3 == 1 ? -0.5f : 0.0f;
    for (const double density : {0.8, 0.4, 0.1}) ExpectSharedUpdate(f, {density, density}, min_alive);
    std::fill_n(f.weights.data(), f.weights.size(), 0.0f);
    ExpectSharedUpdate(f, {0.3, 0.3}, min_alive);
  }
}

// Every other matrix on a third of its entries, as in the middle of a dense phase.
std::shared_ptr<model::Layout> HalfOnCandidates(const model::Registry& registry) {
  auto layout = std::make_shared<model::Layout>(registry.numels());
  std::vector<model::Layout::Change> changes;
  testing_support::Rng rng(kSeed);
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.density != model::Density::kWeight || info.index % 2 == 0) continue;
    std::vector<uint64_t> bits((info.numel() + 63) / 64);
    for (int64_t i = 0; i < info.numel(); ++i) bits[i / 64] |= uint64_t{rng.Below(3) == 0} << (i % 64);
    changes.push_back({info.index, kernels::Pattern::FromDenseBitmap(static_cast<int>(info.rows),
                                                                     static_cast<int>(info.cols), bits.data())});
  }
  EXPECT_GT(changes.size(), 1);
  layout->Apply(std::move(changes));
  return layout;
}

TEST(MaskSet, WholeMatricesAndCandidatesShareOneThreshold) {
  const model::Registry registry(SmallSpec());
  for (const int threads : {1, 3}) {
    model::Arena weights(HalfOnCandidates(registry));
    testing_support::Rng rng(kSeed + 2);
    for (int64_t i = 0; i < weights.size(); ++i) weights.data()[i] = rng.Normal();
    MaskSet masks(registry, 2, config::Biases::kDense, config::MaskScope::kGlobal);
    kernels::ThreadPool pool(threads);
    for (const double density : {0.5, 0.3, 0.1}) {
      const auto expected = SharedMasks(registry, weights, density, 2);
      masks.Update({density, density}, 1, pool, weights);
      auto next = expected.begin();
      for (const model::TensorInfo& info : registry.tensors()) {
        if (info.density != model::Density::kWeight) continue;
        const std::vector<uint64_t>& mask = *next++;
        ASSERT_EQ(masks.nonzeros(info.index), Ones(mask)) << info.name;
        EXPECT_EQ(std::memcmp(masks.kept(info.index), mask.data(), mask.size() * sizeof(uint64_t)), 0) << info.name;
      }
    }
    // More than there is: everything stays.
    masks.Update({0.99, 0.5}, 1, pool, weights);
    for (const model::TensorInfo& info : registry.tensors()) {
      if (info.density != model::Density::kWeight) continue;
      EXPECT_EQ(masks.kept(info.index), nullptr) << info.name;
    }
  }
}

// Blocks from several threads, as an update writes them. As the weights have changed since, the mask shows by which it
// was chosen.
TEST(MaskSet, ChoosesByWhatWasWritten) {
  model::ModelSpec spec = SmallSpec();
  spec.d_mlp = 4096;  // several blocks of candidates
  const model::Registry registry(spec);
  const model::TensorInfo& info = registry[registry.layer(0).c_fc];
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  std::vector<model::Layout::Change> changes;
  changes.push_back({info.index, kernels::Pattern::Full(static_cast<int>(info.rows), static_cast<int>(info.cols))});
  layout->Apply(std::move(changes));
  constexpr int64_t kBlock = 1 << 15;
  ASSERT_GT(info.numel(), 3 * kBlock);
  model::Arena weights(layout);
  testing_support::Rng rng(kSeed + 3);
  const auto draw = [&] { std::generate_n(weights.tensor(info), info.numel(), [&] { return rng.Normal(); }); };
  const auto only = [&](int tensor) { return tensor == info.index; };
  kernels::ThreadPool pool(4);
  MaskSet written(registry, 0, config::Biases::kDense), read(registry, 0, config::Biases::kDense);
  const Densities f = {0.1, 0.1};
  draw();
  written.UpdateTensors(f, 1, pool, weights, only);  // a guess for the next
  draw();
  const std::vector<float> before(weights.tensor(info), weights.tensor(info) + info.numel());
  written.BeginWriting(f, *layout);
  const int64_t blocks = (info.numel() + kBlock - 1) / kBlock;
  pool.Run(blocks, [&](int64_t b, int) {
    written.Written(info.index, b * kBlock, std::min(kBlock, info.numel() - b * kBlock), weights);
  });
  read.UpdateTensors(f, 1, pool, weights, only);
  draw();
  written.UpdateTensors(f, 1, pool, weights, only);
  const size_t bytes = (info.numel() + 63) / 64 * sizeof(uint64_t);
  EXPECT_EQ(std::memcmp(written.kept(info.index), read.kept(info.index), bytes), 0);
  // Without it, by what there is.
  std::copy(before.begin(), before.end(), weights.tensor(info));
  written.BeginWriting(f, *layout);
  draw();
  written.UpdateTensors(f, 1, pool, weights, only);
  EXPECT_NE(std::memcmp(written.kept(info.index), read.kept(info.index), bytes), 0);
}

TEST(MaskSetDeath, RefusesAMaskForADenseTensor) {
  Fixture f;
  const std::vector<uint64_t> bits(64, ~uint64_t{0});
  EXPECT_DEATH(f.masks.Restore(f.registry.ln_f(), bits.data(), 64, {}), "follows no density");
}

}  // namespace
}  // namespace filigree::mask
