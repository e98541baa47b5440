#include "worker/model/tap.h"

#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "tests/worker/model/plain_model.h"
#include "worker/model/network.h"

// Taps see what the model computes with and change it: values, losses and gradients under intervention are those of the
// plain model with the same intervention.

namespace filigree::model {
namespace {

using kernels::kTileTokens;
using testing_support::FillWeights;
using testing_support::RelativeDistance;
using testing_support::Rng;
using testing_support::SmallSpec;

constexpr uint64_t kSeed = 23;
constexpr double kTolerance = 64 * FLT_EPSILON;
constexpr int kSequences = 3, kPositions = 67;

using Key = std::tuple<Place, int, int>;  // place, layer, sequence

// Every place of every layer, and the last one.
std::vector<std::pair<Place, int>> AllPlaces(const ModelSpec& spec) {
  std::vector<std::pair<Place, int>> places;
  for (int layer = 0; layer < spec.n_layer; ++layer) {
    for (int place = 0; place + 1 < kPlaces; ++place) places.emplace_back(static_cast<Place>(place), layer);
  }
  places.emplace_back(Place::kFinalResid, spec.n_layer);
  return places;
}

// Writes down values, gradients and kept bits by [position][channel].
class Recorder : public Tap {
 public:
  explicit Recorder(bool intervenes = false) : intervenes_(intervenes) {}
  bool intervenes() const override { return intervenes_; }
  void Forward(const TapPoint& point, kernels::Tile values) override {
    Record(point, values, forward);
    if (point.kept == nullptr) return;
    const std::lock_guard lock(mutex_);
    for (int c = 0; c < values.channels; ++c) {
      for (int t = 0; t < kTileTokens; ++t) {
        if (!(point.kept[c] >> t & 1) && values.at(c, t) != 0) ++nonzero_where_not_kept;
        kept_entries += point.kept[c] >> t & 1;
      }
    }
  }
  void Backward(const TapPoint& point, kernels::Tile gradient) override { Record(point, gradient, backward); }

  std::map<Key, std::vector<std::vector<double>>> forward, backward;
  int64_t nonzero_where_not_kept = 0, kept_entries = 0;

 private:
  void Record(const TapPoint& point, kernels::Tile tile, std::map<Key, std::vector<std::vector<double>>>& to) {
    const std::lock_guard lock(mutex_);
    std::vector<std::vector<double>>& rows = to[{point.place, point.layer, point.sequence}];
    EXPECT_EQ(static_cast<int>(rows.size()), point.tile * kTileTokens) << "tiles in ascending order, once each";
    for (int t = 0; t < kTileTokens; ++t) {
      rows.emplace_back();
      for (int c = 0; c < tile.channels; ++c) rows.back().push_back(tile.at(c, t));
    }
  }
  bool intervenes_;
  std::mutex mutex_;
};

// values *= factor(c, t) at one place, and the gradient with it.
class Scaler : public Tap {
 public:
  Scaler(Place place, int layer, std::function<float(int c, int t)> factor)
      : place_(place), layer_(layer), factor_(std::move(factor)) {}
  bool intervenes() const override { return true; }
  void Forward(const TapPoint& point, kernels::Tile values) override { Scale(point, values); }
  void Backward(const TapPoint& point, kernels::Tile gradient) override { Scale(point, gradient); }

 private:
  void Scale(const TapPoint& point, kernels::Tile tile) const {
    if (point.place != place_ || point.layer != layer_) return;
    for (int c = 0; c < tile.channels; ++c) {
      for (int t = 0; t < kTileTokens; ++t) tile.at(c, t) *= factor_(c, point.tile * kTileTokens + t);
    }
  }
  Place place_;
  int layer_;
  std::function<float(int, int)> factor_;
};

// Puts `value` at one entry, kept or not, and stops the gradient there.
class Setter : public Tap {
 public:
  Setter(Place place, int layer, int sequence, int channel, int position, float value)
      : place_(place), layer_(layer), sequence_(sequence), channel_(channel), position_(position), value_(value) {}
  bool intervenes() const override { return true; }
  void Forward(const TapPoint& point, kernels::Tile values) override { Put(point, values, value_); }
  void Backward(const TapPoint& point, kernels::Tile gradient) override { Put(point, gradient, 0); }

 private:
  void Put(const TapPoint& point, kernels::Tile tile, float value) const {
    const bool here = point.place == place_ && point.layer == layer_ && point.sequence == sequence_;
    if (here && point.tile == position_ / kTileTokens) tile.at(channel_, position_ % kTileTokens) = value;
  }
  Place place_;
  int layer_, sequence_, channel_, position_;
  float value_;
};

struct Fixture {
  explicit Fixture(const ModelSpec& spec_in = SmallSpec())
      : spec(spec_in), registry(spec), weights(registry), gradient(registry), pool(2), network(spec, registry, pool) {
    FillWeights(registry, kSeed, 0.2f, weights);
    network.SetWeights(weights);
    Rng rng(kSeed + 1);
    for (int i = 0; i < kSequences * kPositions; ++i) tokens.push_back(static_cast<int32_t>(rng.Below(spec.vocab)));
  }
  Network::Batch batch() const { return {tokens.data(), kSequences, kPositions}; }
  double Gradient(Tap* tap) { return network.LossAndGradient(batch(), 1, Network::Write::kOverwrite, gradient, tap); }
  const ModelSpec spec;
  const Registry registry;
  Arena weights, gradient;
  kernels::ThreadPool pool;
  Network network;
  std::vector<int32_t> tokens;
};

TEST(Tap, SeesEveryPlaceOfThePlainModel) {
  Fixture f;
  Recorder training, inference;
  f.Gradient(&training);
  f.network.Loss(f.batch(), &inference);
  PlainModel plain(f.spec, f.registry, f.weights);
  std::map<Key, PlainModel::Rows> expected;
  plain.SetHook([&](Place place, int layer, int s, PlainModel::Rows& values) { expected[{place, layer, s}] = values; });
  plain.Loss(f.tokens, kSequences, kPositions);
  EXPECT_EQ(expected.size(), AllPlaces(f.spec).size() * kSequences);
  EXPECT_EQ(training.forward.size(), expected.size());
  EXPECT_EQ(training.backward.size(), expected.size());
  for (const auto& [key, rows] : expected) {
    SCOPED_TRACE(testing::Message() << kPlaceNames[static_cast<int>(std::get<0>(key))] << " of layer "
                                    << std::get<1>(key) << ", seed " << kSeed);
    ASSERT_EQ(training.forward.count(key), 1);
    std::vector<double> ours, truth;
    for (int t = 0; t < kPositions; ++t) {
      ours.insert(ours.end(), training.forward[key][t].begin(), training.forward[key][t].end());
      truth.insert(truth.end(), rows[t].begin(), rows[t].end());
    }
    ASSERT_EQ(ours.size(), truth.size());
    EXPECT_LT(RelativeDistance(ours, truth, ours.size()), kTolerance);
    for (size_t i = 0; i < ours.size(); ++i) ASSERT_EQ(ours[i] == 0, truth[i] == 0) << i;
    EXPECT_EQ(inference.forward[key], training.forward[key]);
  }
  EXPECT_EQ(training.nonzero_where_not_kept, 0);
  EXPECT_GT(training.kept_entries, 0);
}

TEST(Tap, AnObserverChangesNoBit) {
  for (const bool intervenes : {false, true}) {
    Fixture plain, seen;
    Recorder recorder(intervenes);
    EXPECT_EQ(seen.Gradient(&recorder), plain.Gradient(nullptr));
    for (const TensorInfo& info : plain.registry.tensors()) {
      const size_t n = info.numel();
      if (!intervenes) {
        EXPECT_EQ(std::memcmp(seen.gradient.tensor(info), plain.gradient.tensor(info), n * sizeof(float)), 0)
            << info.name;
      }
      EXPECT_LT(RelativeDistance(seen.gradient.tensor(info), plain.gradient.tensor(info), n), kTolerance) << info.name;
    }
  }
}

// The gradient a tap is shown is the derivative of the loss by the value that stands there, kept or not.
TEST(Tap, GradientsAreDerivativesOfTheLossByTheValues) {
  Fixture f;
  Recorder recorder;
  f.Gradient(&recorder);
  PlainModel plain(f.spec, f.registry, f.weights);
  plain.FreezeSelections();
  plain.Loss(f.tokens, kSequences, kPositions);
  Rng rng(kSeed + 2);
  for (const auto& [place, layer] : AllPlaces(f.spec)) {
    for (int trial = 0; trial < 8; ++trial) {
      const int sequence = static_cast<int>(rng.Below(kSequences)), channels = f.spec.channels(place);
      // A direction over all entries of the sequence, or one entry of it.
      std::vector<std::vector<double>> direction(kPositions, std::vector<double>(channels, 0.0));
      if (trial < 2) {
        for (auto& row : direction) {
          for (double& d : row) d = rng.Normal() / std::sqrt(static_cast<double>(kPositions * channels));
        }
      } else {
        direction[rng.Below(kPositions)][rng.Below(channels)] = 1;
      }
      double loss[2];
      constexpr double kStep = 1e-5;
      for (int side = 0; side < 2; ++side) {
        plain.SetHook([&, where = std::make_tuple(place, layer, sequence)](Place p, int l, int s, auto& values) {
          if (std::make_tuple(p, l, s) != where) return;
          for (int t = 0; t < kPositions; ++t) {
            for (int c = 0; c < channels; ++c) values[t][c] += (2 * side - 1) * kStep * direction[t][c];
          }
        });
        loss[side] = plain.Loss(f.tokens, kSequences, kPositions);
      }
      const auto& gradient = recorder.backward[{place, layer, sequence}];
      double expected = 0, norm = 0;
      for (int t = 0; t < kPositions; ++t) {
        for (int c = 0; c < channels; ++c) {
          expected += gradient[t][c] * direction[t][c];
          norm += gradient[t][c] * gradient[t][c];
        }
      }
      EXPECT_NEAR(expected, (loss[1] - loss[0]) / (2 * kStep), kTolerance * std::sqrt(norm) + 1e-8)
          << kPlaceNames[static_cast<int>(place)] << " of layer " << layer << ", trial " << trial;
    }
  }
}

// Derivatives of the loss along one random direction in the space of all weights, every tensor's part of norm 1: by the
// network's gradient, and by central differences of the plain model. `norm` is that of the gradient.
struct Slopes {
  double network = 0, plain = 0, norm = 0;
};
Slopes AlongARandomDirection(const Fixture& f, PlainModel& plain, Rng& rng) {
  constexpr double kStep = 1e-5;
  Slopes slopes;
  std::vector<std::vector<double>> direction, old;
  for (int tensor = 0; tensor < f.registry.size(); ++tensor) {
    const TensorInfo& info = f.registry[tensor];
    old.push_back(plain.tensor(tensor));
    direction.emplace_back(info.numel());
    for (int64_t i = 0; i < info.numel(); ++i) {
      const double g = f.gradient.tensor(info)[i];
      direction.back()[i] = rng.Normal() / std::sqrt(static_cast<double>(info.numel()));
      slopes.network += g * direction.back()[i];
      slopes.norm += g * g;
    }
  }
  slopes.norm = std::sqrt(slopes.norm);
  for (const double side : {-1.0, 1.0}) {
    for (int tensor = 0; tensor < f.registry.size(); ++tensor) {
      for (size_t i = 0; i < old[tensor].size(); ++i) {
        plain.tensor(tensor)[i] = old[tensor][i] + side * kStep * direction[tensor][i];
      }
    }
    slopes.plain += side * plain.Loss(f.tokens, kSequences, kPositions) / (2 * kStep);
  }
  for (int tensor = 0; tensor < f.registry.size(); ++tensor) plain.tensor(tensor) = old[tensor];
  return slopes;
}

// Scaling channels at a place, everywhere: loss and gradients of all weights are those of the scaled plain model.
TEST(Tap, AScaledPlaceTrainsAsTheScaledModel) {
  Fixture f;
  const auto factor = [](int c, int t) { return c % 3 == 0 ? 0.0f : t % 2 == 0 ? 1.5f : -0.5f; };
  Rng rng(kSeed + 3);
  for (const auto& [place, layer] : AllPlaces(f.spec)) {
    SCOPED_TRACE(testing::Message() << kPlaceNames[static_cast<int>(place)] << " of layer " << layer);
    Scaler scaler(place, layer, factor);
    const double loss = f.Gradient(&scaler);
    PlainModel plain(f.spec, f.registry, f.weights);
    plain.SetHook([&, where = std::make_pair(place, layer)](Place p, int l, int, PlainModel::Rows& values) {
      if (std::make_pair(p, l) != where) return;
      for (size_t t = 0; t < values.size(); ++t) {
        for (size_t c = 0; c < values[t].size(); ++c) values[t][c] *= factor(static_cast<int>(c), static_cast<int>(t));
      }
    });
    plain.FreezeSelections();
    const double expected = plain.Loss(f.tokens, kSequences, kPositions);
    EXPECT_NEAR(loss, expected, kTolerance * expected);
    EXPECT_EQ(f.network.Loss(f.batch(), &scaler), loss);
    for (int trial = 0; trial < 3; ++trial) {
      const Slopes slopes = AlongARandomDirection(f, plain, rng);
      EXPECT_NEAR(slopes.network, slopes.plain, kTolerance * slopes.norm) << "trial " << trial;
    }
  }
}

// A value where AbsTopK kept nothing must reach everything behind it.
TEST(Tap, AValueWhereNothingWasKeptCounts) {
  Fixture f;
  Rng rng(kSeed + 4);
  const double untouched = f.Gradient(nullptr);
  for (const auto& [place, layer] : AllPlaces(f.spec)) {
    SCOPED_TRACE(testing::Message() << kPlaceNames[static_cast<int>(place)] << " of layer " << layer);
    // Early enough that the entry matters to later tokens through attention.
    const int sequence = static_cast<int>(rng.Below(kSequences)), position = static_cast<int>(rng.Below(8));
    const int channel = static_cast<int>(rng.Below(f.spec.channels(place)));
    Setter setter(place, layer, sequence, channel, position, 2.5f);
    const double loss = f.Gradient(&setter);
    PlainModel plain(f.spec, f.registry, f.weights);
    plain.SetHook([&, where = std::make_tuple(place, layer, sequence)](Place p, int l, int s, auto& values) {
      if (std::make_tuple(p, l, s) == where) values[position][channel] = 2.5;
    });
    const double expected = plain.Loss(f.tokens, kSequences, kPositions);
    EXPECT_NEAR(loss, expected, kTolerance * expected);
    EXPECT_NE(loss, untouched);
    EXPECT_EQ(f.network.Loss(f.batch(), &setter), loss);
  }
}

// One channel of an input is 1 for every token, kept or not.
class Ones : public Tap {
 public:
  Ones(Place place, int channel) : place_(place), channel_(channel) {}
  bool intervenes() const override { return true; }
  void Forward(const TapPoint& point, kernels::Tile values) override {
    if (point.place == place_ && point.layer == 0) std::fill_n(values.row(channel_), kTileTokens, 1.0f);
  }

 private:
  Place place_;
  int channel_;
};

// AbsTopK at the inputs alone: the gradients of weights list what the inputs keep, since the outputs keep everything.
ModelSpec InputsAlone() {
  ModelSpec spec = SmallSpec();
  spec.topk = {};
  spec.topk[static_cast<int>(Place::kAttnIn)] = spec.topk[static_cast<int>(Place::kMlpIn)] = true;
  return spec;
}

TEST(Tap, AValueWhereNothingWasKeptIsInTheGradientOfWeights) {
  Fixture f(InputsAlone());
  const LayerTensors& t = f.registry.layer(0);
  for (const auto& [place, weight, bias] :
       {std::tuple(Place::kAttnIn, t.c_attn, t.c_attn_bias), std::tuple(Place::kMlpIn, t.c_fc, t.c_fc_bias)}) {
    const int channel = 4;
    Ones ones(place, channel);
    f.Gradient(&ones);
    // What an input of 1 has for a gradient is the bias's.
    const TensorInfo& matrix = f.registry[weight];
    std::vector<float> column;
    for (int64_t r = 0; r < matrix.rows; ++r) {
      column.push_back(f.gradient.tensor(matrix)[r * matrix.cols + channel]);
    }
    EXPECT_LT(RelativeDistance(column.data(), f.gradient.tensor(f.registry[bias]), column.size()), kTolerance)
        << matrix.name;
  }
}

TEST(Tap, ListingTheInputsThatWereKeptChangesNoBit) {
  Fixture plain(InputsAlone()), seen(InputsAlone());
  Recorder recorder(/*intervenes=*/true);  // so that every input counts
  EXPECT_EQ(seen.Gradient(&recorder), plain.Gradient(nullptr));
  for (const TensorInfo& info : plain.registry.tensors()) {
    EXPECT_EQ(std::memcmp(seen.gradient.tensor(info), plain.gradient.tensor(info), info.numel() * sizeof(float)), 0)
        << info.name;
  }
}

}  // namespace
}  // namespace filigree::model
