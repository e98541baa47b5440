#ifndef FILIGREE_TESTS_PARITY_PLAIN_CASE_H_
#define FILIGREE_TESTS_PARITY_PLAIN_CASE_H_

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/tiles.h"
#include "tests/worker/model/plain_model.h"
#include "worker/checkpoint/safetensors.h"

// Golden cases computed by the plain model in double and by a plain trainer. Gradients are central differences, so the
// models are tiny.

namespace filigree::parity {

using model::PlainModel;
using model::TensorInfo;
using nlohmann::json;
using Vector = std::vector<double>;

inline constexpr uint64_t kSeed = 31;
inline constexpr double kStep = 1e-5;
// What stands for the distance of an fp32 run, of which a plain model has none: a few roundings in a row.
inline constexpr double kFp32Distance = 1e-6;

// D 10, H K 6, F 14, V 13: small enough for a difference by every weight.
inline model::ModelSpec TinySpec() {
  model::ModelSpec spec;
  spec.d_model = 10;
  spec.n_layer = 2;
  spec.n_head = 2;
  spec.d_head = 3;
  spec.d_mlp = 14;
  spec.vocab = 13;
  spec.n_ctx = 12;
  return spec;
}

// One case in the making.
struct CaseWriter {
  CaseWriter(const model::ModelSpec& spec_in, int batch_in, int positions_in)
      : spec(spec_in),
        registry(spec),
        weights(registry),
        plain(spec, registry, weights),
        batch(batch_in),
        positions(positions_in) {
    testing_support::Rng rng(kSeed);
    for (int tensor = 0; tensor < registry.size(); ++tensor) {
      const TensorInfo& info = registry[tensor];
      for (double& w : plain.tensor(tensor)) {
        w = static_cast<double>((info.init == model::Init::kOne ? 1.0f : 0.0f) + 0.3f * rng.Normal());
      }
      Add("in." + info.name, info.shape, plain.tensor(tensor));
    }
    root["vocab"] = spec.vocab;
    root["config"] = {{"n_layer", spec.n_layer}, {"n_head", spec.n_head}, {"d_head", spec.d_head},
                      {"d_model", spec.d_model}, {"d_mlp", spec.d_mlp},   {"batch", batch},
                      {"t", positions},          {"sink", spec.sink},     {"bigram", spec.bigram}};
    if (spec.activation == config::Activation::kRelu) root["config"]["act"] = "relu";
    if (spec.d_pos_emb > 0) root["config"]["d_pos_emb"] = spec.d_pos_emb;
    root["fp32_distance_from_f64"] = json::object();
  }

  void DrawTokens(int64_t steps) {
    testing_support::Rng rng(kSeed + 1);
    for (int64_t i = 0; i < steps * batch * positions; ++i) {
      tokens.push_back(static_cast<int32_t>(rng.Below(spec.vocab)));
    }
  }

  void Add(const std::string& name, const checkpoint::Shape& shape, const Vector& values) {
    shapes[name] = shape;
    tensors[name] = std::vector<float>(values.begin(), values.end());
    if (!name.starts_with("in.")) root["fp32_distance_from_f64"][name] = kFp32Distance;
  }

  // Mean loss of `part` and its derivative by every weight.
  double Gradient(std::span<const int32_t> part, std::vector<Vector>& gradient) {
    const double predicted = static_cast<double>(batch) * (positions - 1);
    plain.FreezeSelections();
    const double loss = plain.Loss(part, batch, positions) / predicted;
    gradient.resize(registry.size());
    for (int tensor = 0; tensor < registry.size(); ++tensor) {
      gradient[tensor].resize(registry[tensor].numel());
      for (size_t i = 0; i < gradient[tensor].size(); ++i) {
        double& w = plain.tensor(tensor)[i];
        const double old = w;
        w = old + kStep;
        const double above = plain.Loss(part, batch, positions);
        w = old - kStep;
        gradient[tensor][i] = (above - plain.Loss(part, batch, positions)) / (2 * kStep * predicted);
        w = old;
      }
    }
    return loss;
  }

  // Writes the case and runs the program over it: does it agree?
  bool Agrees(const std::string& options) const {
    std::string pattern = (std::filesystem::temp_directory_path() / "parity_XXXXXX").string();
    const std::string folder = mkdtemp(pattern.data());
    std::ofstream(folder + "/plain.json") << root;
    std::vector<checkpoint::TensorData> data;
    for (const auto& [name, values] : tensors) {
      data.push_back({name, checkpoint::DType::kF32, shapes.at(name), values.data()});
    }
    const std::vector<int64_t> ids(tokens.begin(), tokens.end());
    checkpoint::Shape shape = {batch, positions};
    if (root.contains("steps")) shape.insert(shape.begin(), static_cast<int64_t>(root["steps"].size()));
    data.push_back({"tokens", checkpoint::DType::kI64, shape, ids.data()});
    const absl::Status written = checkpoint::WriteSafetensors(folder + "/plain.safetensors", data);
    EXPECT_TRUE(written.ok()) << written;
    const std::string command = std::string(FILIGREE_PARITY) + " " + folder + " --quiet " + options;
    const int status = std::system(command.c_str());  // NOLINT: the shell gets what this file wrote
    std::filesystem::remove_all(folder);
    EXPECT_TRUE(WIFEXITED(status)) << root["config"];
    return WEXITSTATUS(status) == 0;
  }

  const model::ModelSpec spec;
  const model::Registry registry;
  const model::Arena weights;  // zeros: the plain model holds the weights
  PlainModel plain;
  int batch, positions;
  std::vector<int32_t> tokens;
  json root;
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, checkpoint::Shape> shapes;
};

struct Plan {
  int64_t steps;
  double lr, wd, eps, pfrac, ef, start, stop, warmup;
  int64_t j;
};

// Two entries of a matrix of which a step's mask keeps one and not the other, as the last and the first of its ranking.
struct Turn {
  int64_t step = 0;
  int tensor = 0;
  int64_t kept = 0, dropped = 0;
  double kept_weight = 0, dropped_weight = 0;  // before the mask

  double gap() const { return std::fabs(kept_weight) - std::fabs(dropped_weight); }
  bool IsOf(const Turn& other) const { return step == other.step && tensor == other.tensor; }
};

// The specification's step, in double and straight from its text.
class PlainTrainer {
 public:
  // `other_way`: there the mask keeps what it should drop, and drops what it should keep.
  PlainTrainer(CaseWriter& c, const Plan& plan, std::optional<Turn> other_way = std::nullopt)
      : c_(c), plan_(plan), other_way_(other_way) {
    for (const TensorInfo& info : c.registry.tensors()) {
      m_.emplace_back(info.numel(), 0.0);
      v_.emplace_back(info.numel(), 0.0);
    }
  }

  json Step(int64_t s) {
    const double S = static_cast<double>(plan_.steps), w = std::floor(plan_.warmup * S);
    const double a = plan_.start * S, b = plan_.stop * S, x = std::clamp((s - a) / (b - a), 0.0, 1.0);
    const double fw_end = std::min(1.0, plan_.pfrac / (plan_.ef * plan_.ef)), fw = 1 + (fw_end - 1) * x;
    const double fe = 1 + (std::min(1.0, plan_.pfrac / plan_.ef) - 1) * x;
    const double lr = plan_.lr * (s < w ? s / w : (S - s) / (S - w)) * std::sqrt(fw_end / fw);
    std::vector<Vector> g;
    const int64_t per_step = static_cast<int64_t>(c_.batch) * c_.positions;
    const double loss = c_.Gradient(std::span(c_.tokens).subspan(s * per_step, per_step), g);
    double squares = 0;
    for (const Vector& gradient : g)
      squares = std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), squares);
    const double rms = std::sqrt(squares / static_cast<double>(c_.registry.trained_elements()));
    json nnz = json::object();
    for (int tensor = 0; tensor < c_.registry.size(); ++tensor) {
      const TensorInfo& info = c_.registry[tensor];
      Adam(tensor, s, lr, 1 / (rms + 1e-5), g[tensor]);
      const bool embedding = info.density == model::Density::kEmbedding;
      if (embedding || info.density == model::Density::kWeight) nnz[info.name] = Mask(tensor, s, embedding ? fe : fw);
      if (info.shape.size() == 2 && info.name != "bigram_table") {
        for (double& weight : c_.plain.tensor(tensor)) weight -= plan_.wd * lr * weight;
      }
    }
    return {{"step", s},    {"lr", lr},        {"pfrac", fw * plan_.ef * plan_.ef},
            {"loss", loss}, {"grad_rms", rms}, {"nnz", nnz}};
  }

  // Of all masks so far.
  const std::vector<Turn>& turns() const { return turns_; }

 private:
  void Adam(int tensor, int64_t s, double lr, double scale, const Vector& gradient) {
    for (size_t i = 0; i < gradient.size(); ++i) {
      const double g = gradient[i] * scale;
      m_[tensor][i] = 0.9 * m_[tensor][i] + 0.1 * g;
      v_[tensor][i] = 0.95 * v_[tensor][i] + 0.05 * g * g;
      const double mhat = m_[tensor][i] / (1 - std::pow(0.9, s + 1)),
                   vhat = v_[tensor][i] / (1 - std::pow(0.95, s + 1));
      c_.plain.tensor(tensor)[i] -= lr * mhat / (std::sqrt(vhat) + plan_.eps);
    }
  }

  // Keeps floor(f * numel) entries, each unit its j largest first; returns how many are not zero.
  int64_t Mask(int tensor, int64_t s, double f) {
    const TensorInfo& info = c_.registry[tensor];
    Vector& w = c_.plain.tensor(tensor);
    const auto k = static_cast<int64_t>(std::floor(f * static_cast<double>(info.numel())));
    const bool rows = info.unit == kernels::Unit::kRow, columns = info.unit == kernels::Unit::kColumn;
    const int64_t units = rows ? info.rows : columns ? info.cols : 0;
    std::vector<int64_t> order(w.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return std::fabs(w[a]) > std::fabs(w[b]); });
    std::vector<bool> kept(w.size(), false);
    std::vector<int64_t> left(units, units == 0 ? 0 : std::min(plan_.j, k / units));
    int64_t count = 0;
    for (const int64_t i : order) {
      const int64_t unit = rows ? i / info.cols : columns ? i % info.cols : -1;
      if (unit >= 0 && left[unit] > 0) kept[i] = true, --left[unit], ++count;
    }
    Turn turn{s, tensor, -1, -1};
    for (const int64_t i : order) {
      if (kept[i]) continue;
      if (count < k) {
        kept[i] = true, ++count, turn.kept = i;
      } else if (turn.dropped < 0) {
        turn.dropped = i;
      }
    }
    if (turn.kept >= 0 && turn.dropped >= 0) TakeTurn(turn, w, kept);
    for (size_t i = 0; i < w.size(); ++i) w[i] = kept[i] ? w[i] : 0;
    return count;
  }

  void TakeTurn(Turn turn, const Vector& w, std::vector<bool>& kept) {
    turn.kept_weight = w[turn.kept];
    turn.dropped_weight = w[turn.dropped];
    turns_.push_back(turn);
    if (!other_way_ || !other_way_->IsOf(turn)) return;
    kept[turn.kept] = false;
    kept[turn.dropped] = true;
  }

  CaseWriter& c_;
  Plan plan_;
  std::optional<Turn> other_way_;
  std::vector<Turn> turns_;
  std::vector<Vector> m_, v_;
};

// Trains, and makes a case of it. Returns where its masks turned.
inline std::vector<Turn> TrainPlainly(CaseWriter& c, const Plan& plan, std::optional<Turn> other_way = std::nullopt) {
  c.DrawTokens(plan.steps);
  if (c.spec.afrac < 1) c.root["config"]["afrac"] = c.spec.afrac;
  const json schedule = {{"steps", plan.steps},   {"lr", plan.lr}, {"wd", plan.wd},       {"eps", plan.eps},
                         {"pfrac", plan.pfrac},   {"ef", plan.ef}, {"start", plan.start}, {"stop", plan.stop},
                         {"warmup", plan.warmup}, {"j", plan.j}};
  c.root["config"].update(schedule);
  PlainTrainer trainer(c, plan, other_way);
  c.root["steps"] = json::array();
  for (int64_t s = 0; s < plan.steps; ++s) c.root["steps"].push_back(trainer.Step(s));
  for (int tensor = 0; tensor < c.registry.size(); ++tensor) {
    c.Add("out." + c.registry[tensor].name, c.registry[tensor].shape, c.plain.tensor(tensor));
  }
  return trainer.turns();
}

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_PLAIN_CASE_H_
