#ifndef FILIGREE_TESTS_WORKER_INTEROP_SMALL_MODEL_H_
#define FILIGREE_TESTS_WORKER_INTEROP_SMALL_MODEL_H_

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/csr/pattern.h"
#include "tests/support/tiles.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/model/registry.h"

// A small model with seeded weights and selections, saved as a checkpoint.

namespace filigree::interop {

struct SmallModel {
  config::Settings settings;
  model::ModelSpec spec;
  std::map<std::string, std::vector<float>> weights;  // by name
  std::map<std::string, checkpoint::Shape> shapes;
};

inline config::ModelSettings SmallSettings() {
  config::ModelSettings model;
  model.d_model = 16;
  model.n_layer = 2;
  model.d_head = 4;
  model.d_mlp = 24;
  model.n_ctx = 12;
  model.afrac = 0.5;
  return model;
}

constexpr int kSmallVocab = 33;

inline SmallModel MakeSmallModel(const config::ModelSettings& model, uint64_t seed) {
  SmallModel small;
  small.settings.model = model;
  config::Resolve(small.settings);
  small.spec = *model::MakeSpec(small.settings.model, kSmallVocab);
  testing_support::Rng rng(seed);
  const model::Registry registry(small.spec);
  for (const model::TensorInfo& info : registry.tensors()) {
    const bool pruned = info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
    std::vector<float>& w = small.weights[info.name];
    small.shapes[info.name] = info.shape;
    for (int64_t i = 0; i < info.numel(); ++i) {
      const float draw = rng.Normal();
      w.push_back(pruned && rng.Uniform() > 0.2 ? 0.0f : draw);
    }
  }
  return small;
}

// A matrix on candidates: what it keeps and every seventh position, as a run of the active regime holds it.
class OnCandidates {
 public:
  explicit OnCandidates(const checkpoint::StateTensor& whole) : tensor_(whole) {
    const auto rows = static_cast<int>(whole.shape[0]), cols = static_cast<int>(whole.shape[1]);
    std::vector<uint64_t> positions((rows * cols + 63) / 64, 0);
    for (int i = 0, e = 0; i < rows * cols; ++i) {
      const bool kept = (whole.kept[i / 64] >> (i % 64) & 1) != 0;
      if (!kept && i % 7 != 0) continue;
      positions[i / 64] |= uint64_t{1} << (i % 64);
      weight_.push_back(whole.weight[i]);
      if (e % 64 == 0) kept_.push_back(0);
      kept_.back() |= uint64_t{kept} << (e % 64);
      ++e;
    }
    pattern_ = kernels::Pattern::FromDenseBitmap(rows, cols, positions.data());
    view_ = pattern_.view();
    tensor_.weight = tensor_.m = tensor_.v = weight_.data();
    tensor_.kept = kept_.data();
    tensor_.candidates = &view_;
  }
  OnCandidates(const OnCandidates&) = delete;
  OnCandidates& operator=(const OnCandidates&) = delete;
  const checkpoint::StateTensor& tensor() const { return tensor_; }

 private:
  checkpoint::StateTensor tensor_;
  std::vector<float> weight_;
  std::vector<uint64_t> kept_;
  kernels::Pattern pattern_;
  kernels::PatternView view_;
};

enum class Regime { kExact, kActive };

// Saves it into a new folder with moments and selections, as a run would.
inline checkpoint::Checkpoint SaveSmallModel(const SmallModel& small, const std::string& folder,
                                             const std::map<std::string, std::string>& more_texts = {},
                                             Regime regime = Regime::kExact) {
  std::filesystem::remove_all(folder);
  checkpoint::State state;
  state.step = 17;
  std::map<std::string, std::vector<uint64_t>> kept;
  std::deque<OnCandidates> on_candidates;
  for (const auto& [name, w] : small.weights) {
    checkpoint::StateTensor tensor{name, small.shapes.at(name), w.data(), w.data(), w.data()};
    if (name.find("c_") != std::string::npos && small.shapes.at(name).size() == 2) {
      kept[name].resize((w.size() + 63) / 64);
      for (size_t i = 0; i < w.size(); ++i) kept[name][i / 64] |= static_cast<uint64_t>(w[i] != 0) << (i % 64);
      tensor.kept = kept[name].data();
      if (regime == Regime::kActive) tensor = on_candidates.emplace_back(tensor).tensor();
    }
    state.tensors.push_back(tensor);
  }
  state.texts = more_texts;
  state.texts[checkpoint::texts::kConfig] = config::ToToml(small.settings);
  state.texts[checkpoint::texts::kVocab] = std::to_string(small.spec.vocab);
  auto saved = checkpoint::SaveFolder(checkpoint::RealFileSystem(), folder, state);
  CHECK(saved.ok(), "{}", saved.status().ToString());
  return *checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), folder);
}

}  // namespace filigree::interop

#endif  // FILIGREE_TESTS_WORKER_INTEROP_SMALL_MODEL_H_
