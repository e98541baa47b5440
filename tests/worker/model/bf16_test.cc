#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/csr/pattern.h"
#include "tests/support/avx2_only.h"
#include "tests/support/small_model.h"
#include "tests/worker/model/plain_model.h"
#include "worker/model/network.h"
#include "worker/model/tap.h"

// Activations stored as bf16: where the network rounds, that nothing else changes, and that its gradients are those of
// a function in which rounding adds a constant.

namespace filigree::model {
namespace {

using testing_support::Avx2Only;
using testing_support::Rng;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 53;
const double kUnit = std::ldexp(1.0, -8);  // the largest relative error of a rounding to bf16

std::vector<int32_t> Tokens(const ModelSpec& spec, int sequences, int positions) {
  Rng rng(kSeed);
  std::vector<int32_t> tokens(static_cast<size_t>(sequences) * positions);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(spec.vocab));
  return tokens;
}

ModelSpec AsBf16(ModelSpec spec) {
  spec.activation_storage = config::ActivationStorage::kBf16;
  return spec;
}

// Whole matrices, compressed ones, and candidates that are a third of the entries.
enum class Form { kDense, kSparse, kCandidates };
constexpr Form kForms[] = {Form::kDense, Form::kSparse, Form::kCandidates};

struct Fixture {
  explicit Fixture(const ModelSpec& spec_in, Form form = Form::kDense, int threads = 1)
      : spec(spec_in),
        registry(spec),
        layout(MakeLayout(form)),
        weights(layout),
        gradient(layout),
        pool(threads),
        network(spec, registry, pool) {
    Rng rng(kSeed + 1);
    for (const TensorInfo& info : registry.tensors()) {
      const bool masked = form == Form::kSparse && Matrix(info);
      const int64_t stored = layout->stored(info.index);
      bits.emplace_back(masked ? (stored + 63) / 64 : 0, 0);
      nonzeros.push_back(masked ? 0 : stored);
      for (int64_t i = 0; i < stored; ++i) {
        const bool kept = !masked || rng.Uniform() < 0.2;
        weights.tensor(info)[i] = kept ? (info.init == Init::kOne ? 1.0f : 0.0f) + 0.2f * rng.Normal() : 0.0f;
        if (masked && kept) bits.back()[i / 64] |= uint64_t{1} << i % 64;
        if (masked && kept) ++nonzeros.back();
      }
    }
    network.SetWeights(
        weights, [&](int t) { return bits[t].empty() ? nullptr : bits[t].data(); }, [&](int t) { return nonzeros[t]; });
  }

  static bool Matrix(const TensorInfo& info) {
    return info.density == Density::kWeight || info.density == Density::kEmbedding;
  }

  std::shared_ptr<Layout> MakeLayout(Form form) const {
    auto made = std::make_shared<Layout>(registry.numels());
    if (form != Form::kCandidates) return made;
    Rng rng(kSeed + 2);
    std::vector<Layout::Change> changes;
    for (const TensorInfo& info : registry.tensors()) {
      if (!Matrix(info)) continue;
      std::vector<uint64_t> candidates((info.numel() + 63) / 64 + 1, 0);
      for (int64_t i = 0; i < info.numel(); ++i) {
        if (rng.Below(3) == 0) candidates[i / 64] |= uint64_t{1} << i % 64;
      }
      changes.push_back({info.index, kernels::Pattern::FromDenseBitmap(
                                         static_cast<int>(info.rows), static_cast<int>(info.cols), candidates.data())});
    }
    made->Apply(std::move(changes));
    return made;
  }

  double Gradient(const std::vector<int32_t>& tokens, int sequences, int positions, Tap* tap = nullptr) {
    return network.LossAndGradient({tokens.data(), sequences, positions}, 1.0 / static_cast<double>(tokens.size()),
                                   Network::Write::kOverwrite, gradient, tap);
  }
  double Loss(const std::vector<int32_t>& tokens, int sequences, int positions) {
    return network.Loss({tokens.data(), sequences, positions});
  }

  bool SameGradient(const Fixture& other) const {
    for (const TensorInfo& info : registry.tensors()) {
      const size_t bytes = layout->stored(info.index) * sizeof(float);
      if (std::memcmp(gradient.tensor(info), other.gradient.tensor(info), bytes) != 0) return false;
    }
    return true;
  }

  const ModelSpec spec;
  const Registry registry;
  const std::shared_ptr<Layout> layout;
  Arena weights, gradient;
  std::vector<std::vector<uint64_t>> bits;
  std::vector<int64_t> nonzeros;
  kernels::ThreadPool pool;
  Network network;
};

TEST(Bf16Activations, TheSameBitsForAnyThreadsAndTargetsAndLossAlone) {
  const ModelSpec spec = AsBf16(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(spec, 5, 67);
  for (const Form form : kForms) {
    Fixture one(spec, form);
    const double loss = one.Gradient(tokens, 5, 67);
    ASSERT_TRUE(std::isfinite(loss));
    EXPECT_EQ(one.Loss(tokens, 5, 67), loss);
    for (const int threads : {2, 4}) {
      Fixture more(spec, form, threads);
      EXPECT_EQ(more.Gradient(tokens, 5, 67), loss);
      EXPECT_TRUE(more.SameGradient(one));
    }
    const Avx2Only avx2;
    Fixture narrow(spec, form);
    EXPECT_EQ(narrow.Gradient(tokens, 5, 67), loss);
    EXPECT_TRUE(narrow.SameGradient(one));
  }
}

// After a larger batch, whose values must not show.
TEST(Bf16Activations, NothingIsLeftOfTheBatchBefore) {
  const ModelSpec spec = AsBf16(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(spec, 2, 65);
  Fixture fresh(spec), used(spec);
  fresh.Gradient(tokens, 2, 65);
  used.Gradient(Tokens(spec, 4, 70), 4, 70);
  used.Gradient(tokens, 2, 65);
  EXPECT_TRUE(used.SameGradient(fresh));
}

constexpr Place kRounded[] = {Place::kAttnIn, Place::kQ,     Place::kK,        Place::kV,
                              Place::kAttnY,  Place::kMlpIn, Place::kMlpNeuron};
bool IsRounded(Place place) { return std::find(std::begin(kRounded), std::end(kRounded), place) != std::end(kRounded); }

// Everything that the forward pass went on with, position by position.
class Recorder : public Tap {
 public:
  explicit Recorder(int positions) : positions_(positions) {}
  void Forward(const TapPoint& point, kernels::Tile values) override {
    PlainModel::Rows& rows = rows_[{point.place, point.layer, point.sequence}];
    rows.resize(positions_);
    for (int t = 0; t < kernels::kTileTokens && point.tile * kernels::kTileTokens + t < positions_; ++t) {
      std::vector<double>& row = rows[point.tile * kernels::kTileTokens + t];
      row.clear();
      for (int c = 0; c < values.channels; ++c) row.push_back(values.at(c, t));
    }
  }
  const PlainModel::Rows& at(Place place, int layer, int sequence) const { return rows_.at({place, layer, sequence}); }
  const std::map<std::tuple<Place, int, int>, PlainModel::Rows>& all() const { return rows_; }

 private:
  const int positions_;
  std::map<std::tuple<Place, int, int>, PlainModel::Rows> rows_;
};

bool IsBf16(double x) { return (std::bit_cast<uint32_t>(static_cast<float>(x)) & 0xffff) == 0; }

TEST(Bf16Activations, AreRoundedWhereTheyAreKeptAndNowhereElse) {
  constexpr int kPositions = 66;
  const ModelSpec spec = AsBf16(SmallSpec());
  Fixture f(spec);  // one thread, as the recorder wants
  Recorder recorder(kPositions);
  f.Gradient(Tokens(spec, 2, kPositions), 2, kPositions, &recorder);
  for (const auto& [point, rows] : recorder.all()) {
    int64_t exact = 0, all = 0;
    for (const std::vector<double>& row : rows) {
      for (const double x : row) all += x != 0, exact += x != 0 && IsBf16(x);
    }
    const Place place = std::get<Place>(point);
    ASSERT_GT(all, 0) << kPlaceNames[static_cast<int>(place)];
    // By chance one number in 65,536 has a lower half of zeros.
    EXPECT_TRUE(IsRounded(place) ? exact == all : exact < all / 10) << kPlaceNames[static_cast<int>(place)];
  }
}

// Changes every value that is kept, and rounds what comes of it or not.
class Change : public Tap {
 public:
  explicit Change(bool round) : round_(round) {}
  bool intervenes() const override { return true; }
  void Forward(const TapPoint& point, kernels::Tile values) override {
    if (!IsRounded(point.place)) return;
    for (size_t i = 0; i < values.size(); ++i) values.data[i] *= 1.013f;
    if (round_) kernels::ref::RoundToBf16(values, {});
  }

 private:
  const bool round_;
};

TEST(Bf16Activations, WhatATapLeavesIsRoundedToo) {
  const ModelSpec spec = AsBf16(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(spec, 2, 66);
  Fixture rounded(spec), left(spec), untouched(spec);
  Change round(true), leave(false);
  const double loss = rounded.Gradient(tokens, 2, 66, &round);
  EXPECT_EQ(left.Gradient(tokens, 2, 66, &leave), loss);
  EXPECT_TRUE(left.SameGradient(rounded));
  EXPECT_NE(untouched.Gradient(tokens, 2, 66), loss);
}

// Rounds what the plain model has to what the network had, by adding a constant that is found once.
class Rounding {
 public:
  explicit Rounding(const Recorder& network) : network_(network) {}
  void operator()(Place place, int layer, int sequence, PlainModel::Rows& values) {
    if (!IsRounded(place)) return;
    PlainModel::Rows& added = added_[{place, layer, sequence}];
    const PlainModel::Rows& rounded = network_.at(place, layer, sequence);
    if (added.empty()) {
      added = rounded;
      for (size_t t = 0; t < values.size(); ++t) {
        for (size_t c = 0; c < values[t].size(); ++c) added[t][c] -= values[t][c];
      }
    }
    for (size_t t = 0; t < values.size(); ++t) {
      for (size_t c = 0; c < values[t].size(); ++c) {
        largest_ = std::max(largest_, std::abs(added[t][c]) / std::max(std::abs(values[t][c]), 1e-3));
        values[t][c] += added[t][c];
      }
    }
  }
  double largest() const { return largest_; }  // what was added, relative

 private:
  const Recorder& network_;
  std::map<std::tuple<Place, int, int>, PlainModel::Rows> added_;
  double largest_ = 0;
};

// Two things are rounded in the backward pass alone: what GELU's derivative is taken at, and the y of dy . y in the
// softmax. Either errs by a unit of what it multiplies, in the layers above a tensor; the rest is fp32.
void CheckGradient(const ModelSpec& spec, int sequences, int positions) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", positions " << positions);
  constexpr double kStep = 1e-5;
  const std::vector<int32_t> tokens = Tokens(spec, sequences, positions);
  const double scale = 1.0 / static_cast<double>(tokens.size());
  Fixture f(spec);
  Recorder recorder(positions);
  const double network_loss = f.Gradient(tokens, sequences, positions, &recorder);
  f.Gradient(tokens, sequences, positions);  // without a tap, as training does

  PlainModel plain(spec, f.registry, f.weights);
  Rounding rounding(recorder);
  plain.SetHook([&](Place place, int layer, int sequence, PlainModel::Rows& values) {
    rounding(place, layer, sequence, values);
  });
  plain.FreezeSelections();
  EXPECT_NEAR(plain.Loss(tokens, sequences, positions), network_loss, 64 * FLT_EPSILON * network_loss);
  EXPECT_LE(rounding.largest(), 1.01 * kUnit);
  EXPECT_GE(rounding.largest(), 0.9 * kUnit);
  const auto slope = [&](int tensor, const std::vector<double>& direction) {
    const std::vector<double> old = plain.tensor(tensor);
    double loss[2];
    for (int side = 0; side < 2; ++side) {
      for (size_t i = 0; i < old.size(); ++i) plain.tensor(tensor)[i] = old[i] + (side * 2 - 1) * kStep * direction[i];
      loss[side] = plain.Loss(tokens, sequences, positions);
    }
    plain.tensor(tensor) = old;
    return scale * (loss[1] - loss[0]) / (2 * kStep);
  };
  double all = 0;
  for (int64_t i = 0; i < f.gradient.size(); ++i) {
    all += static_cast<double>(f.gradient.data()[i]) * f.gradient.data()[i];
  }
  Rng rng(kSeed + 3);
  double worst = 0;
  for (int tensor = 0; tensor < f.registry.size(); ++tensor) {
    const TensorInfo& info = f.registry[tensor];
    const float* g = f.gradient.tensor(info);
    double norm = 0;
    for (int64_t i = 0; i < info.numel(); ++i) norm += static_cast<double>(g[i]) * g[i];
    const double size = std::sqrt(norm) + 1e-2 * std::sqrt(all), bound = (kUnit + 64 * FLT_EPSILON) * size;
    for (int trial = 0; trial < 4; ++trial) {
      std::vector<double> direction(info.numel(), 0.0);
      if (trial < 2) {
        for (double& d : direction) d = rng.Normal() / std::sqrt(static_cast<double>(info.numel()));
      } else {
        direction[rng.Below(info.numel())] = 1;
      }
      double expected = 0;
      for (int64_t i = 0; i < info.numel(); ++i) expected += direction[i] * g[i];
      const double found = slope(tensor, direction);
      worst = std::max(worst, std::abs(expected - found) / size);
      EXPECT_NEAR(expected, found, bound) << info.name << ", trial " << trial;
    }
  }
  std::printf("largest difference %.2g of a gradient's norm, %.2g units\n", worst, worst / kUnit);
}

TEST(Bf16Activations, GradientsAreThoseOfTheRoundedFunction) { CheckGradient(AsBf16(SmallSpec()), 2, 66); }

TEST(Bf16Activations, GradientsOfDenseActivationsAndRelu) {
  ModelSpec spec = AsBf16(SmallSpec());
  spec.activation = config::Activation::kRelu;
  spec.afrac = 1;
  spec.d_pos_emb = 0;
  CheckGradient(spec, 2, 33);
}

// Candidates and compressed matrices take their inputs another way: the same gradients at their entries.
TEST(Bf16Activations, EveryFormOfAMatrixHasTheSameGradient) {
  const ModelSpec spec = AsBf16(SmallSpec());
  const std::vector<int32_t> tokens = Tokens(spec, 3, 65);
  Fixture sparse(spec, Form::kSparse), dense(spec);
  for (int64_t i = 0; i < dense.weights.size(); ++i) dense.weights.data()[i] = sparse.weights.data()[i];
  dense.network.SetWeights(dense.weights);
  dense.Gradient(tokens, 3, 65);
  sparse.Gradient(tokens, 3, 65);
  for (const TensorInfo& info : dense.registry.tensors()) {
    // Sums in fp32 end in neighbouring numbers, and a few of those round to neighbouring bf16 numbers.
    EXPECT_LT(
        testing_support::RelativeDistance(sparse.gradient.tensor(info), dense.gradient.tensor(info), info.numel()),
        kUnit)
        << info.name;
  }
}

TEST(Bf16Activations, TakeLessMemory) {
  ModelSpec spec = SmallSpec();
  spec.n_layer = 8;
  Fixture fp32(spec), bf16(AsBf16(spec));
  const size_t without = fp32.network.bytes();
  const std::vector<int32_t> tokens = Tokens(spec, 16, 70);
  fp32.Gradient(tokens, 16, 70);
  bf16.Gradient(tokens, 16, 70);
  // Of 8 layers: 2 (D + P) + 4 HK + 2 F numbers of 4 bytes become 2; scratch is of a sequence.
  const double tile = 64.0 * (2 * 28 + 4 * 15 + 2 * 37), saved = 8 * 32 * tile * 2, scratch = 2 * tile * 4;
  EXPECT_LE(static_cast<double>(bf16.network.bytes() - without),
            static_cast<double>(fp32.network.bytes() - without) - saved + scratch);
}

}  // namespace
}  // namespace filigree::model
