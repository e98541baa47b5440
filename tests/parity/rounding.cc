#include "tests/parity/rounding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/base/random.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::parity {
namespace {

constexpr uint64_t kSeed = 20251129;
constexpr int kRuns = 12, kFewestRuns = 4;
constexpr double kMostRounding = 1e-5, kAllowed = 2;

struct Outcome {
  std::vector<std::vector<float>> weights;   // of every tensor
  std::vector<std::vector<uint64_t>> masks;  // of every step and tensor
};

void AddMasks(const train::TrainState& state, Outcome& outcome) {
  for (int t = 0; t < state.registry.size(); ++t) {
    const uint64_t* kept = state.masks.kept(t);
    const int64_t words = kept == nullptr ? 0 : (state.layout->stored(t) + 63) / 64;
    outcome.masks.emplace_back(kept, kept + words);
  }
}

// Every weight that is not 0 to the next float above or below it.
void Move(const kernels::CounterRng& rng, int64_t step, train::TrainState& state) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto floats = static_cast<uint64_t>(state.layout->floats());
  for (const model::TensorInfo& info : state.registry.tensors()) {
    float* w = state.weights.tensor(info);
    const uint64_t first =
        static_cast<uint64_t>(step) * floats + static_cast<uint64_t>(state.layout->offset(info.index));
    for (int64_t i = 0; i < state.layout->stored(info.index); ++i) {
      if (w[i] == 0) continue;
      w[i] = std::nextafter(w[i], rng.Uniform(first + static_cast<uint64_t>(i)) < 0.5 ? kInfinity : -kInfinity);
    }
  }
}

// rng null: nothing is moved.
absl::StatusOr<Outcome> Train(const GoldenCase& golden, const Runner& runner, const config::Settings& settings,
                              const kernels::CounterRng* rng) {
  train::TrainState state(golden.spec, settings, LayoutFor(settings.sparsity.regime, model::Registry(golden.spec)));
  absl::Status read = ReadWeights(golden, state.registry, state.weights);
  if (!read.ok()) return read;
  Outcome outcome;
  const size_t per_step = static_cast<size_t>(golden.batch) * golden.positions;
  for (int64_t s = 0; s < golden.training->steps; ++s) {
    train::Stepper stepper(settings, state, *runner.pool, runner.world);  // takes the weights as they are now
    const auto step = stepper.Step(golden.tokens.data() + per_step * s, golden.batch, golden.positions);
    if (!step.ok()) return step.status();
    AddMasks(state, outcome);
    if (rng != nullptr) Move(*rng, s, state);
  }
  for (const model::TensorInfo& info : state.registry.tensors()) {
    const float* w = state.weights.tensor(info);
    outcome.weights.emplace_back(w, w + state.layout->stored(info.index));
  }
  return outcome;
}

// ||a - b||^2 / ||b||^2; 0 of a tensor that is all zeros.
double SquaredDistance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return norm > 0 ? difference / norm : 0;
}

}  // namespace

bool MayBeRounding(const Report& report) {
  const auto harmless = [](const Comparison& row) {
    return row.ok() ||
           (row.subject.starts_with("out.") && row.zeros_differ == 0 && row.distance <= kAllowed * kMostRounding);
  };
  return !report.has_errors() && std::all_of(report.rows().begin(), report.rows().end(), harmless);
}

absl::StatusOr<std::vector<double>> MeasureRounding(const GoldenCase& golden, const Runner& runner,
                                                    const config::Settings& settings) {
  const absl::StatusOr<Outcome> still = Train(golden, runner, settings, nullptr);
  if (!still.ok()) return still.status();
  std::vector<double> allowed(still->weights.size(), 0.0);
  int counted = 0;
  for (int run = 0; run < kRuns; ++run) {
    const kernels::CounterRng rng(kSeed, static_cast<uint64_t>(run));
    const absl::StatusOr<Outcome> moved = Train(golden, runner, settings, &rng);
    if (!moved.ok()) return moved.status();
    if (moved->masks != still->masks) continue;
    ++counted;
    for (size_t t = 0; t < allowed.size(); ++t) allowed[t] += SquaredDistance(moved->weights[t], still->weights[t]);
  }
  for (double& squares : allowed) {
    const double rms = counted < kFewestRuns ? 0 : std::sqrt(squares / counted);
    squares = rms > kMostRounding ? 0 : kAllowed * rms;
  }
  return allowed;
}

}  // namespace filigree::parity
