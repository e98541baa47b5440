#ifndef FILIGREE_TESTS_WORKER_CHECKPOINT_TEST_STATE_H_
#define FILIGREE_TESTS_WORKER_CHECKPOINT_TEST_STATE_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/tiles.h"
#include "worker/checkpoint/checkpoint.h"

// A small state of awkward shapes that owns its arrays: dense and sparse tensors, one of each storage, with kept zeros,
// negative zeros, infinities and NaNs with payloads.

namespace filigree::checkpoint {

struct OwnedTensor {
  std::string name;
  Shape shape;
  std::vector<float> weight, m, v;
  std::vector<uint64_t> kept;  // empty: dense
};

class TestState {
 public:
  explicit TestState(uint64_t seed, int64_t step = 10) : rng_(seed) {
    state_.step = step;
    state_.position = step * 16 + 3;
    state_.seed = seed * 0x9e3779b97f4a7c15u;
    state_.texts = {{"config.toml", "[run]\nname = \"caf\u00e9 \\\"\"\n"}, {"vocab", "2048"}};
    state_.extras = {{"threshold.c_attn", 0.1 + static_cast<double>(seed)},
                     {"odd", std::bit_cast<double>(0x7ff4000000000123u)}};
    Add("wte.weight", {7, 5}, 1, true, false);
    Add("h.0.c_attn.weight", {33, 65}, 0.1, true, true);
    Add("h.0.c_fc.weight", {64, 64}, 0.0, true, true);    // a selection without entries
    Add("h.0.c_proj.weight", {9, 15}, 0.97, true, true);  // too dense to be stored sparse
    Add("h.1.c_proj.weight", {3, 2, 40}, 0.05, false, true);
    Add("bias", {131}, 0.1, true, true);
    Add("scalar", {1}, 1, true, false);
    Add("full.weight", {4, 16}, 1, true, true);  // everything kept
    OwnedTensor& stray = Add("stray.weight", {8, 32}, 0.1, true, true);
    stray.kept[3] &= ~(uint64_t{1} << 63);
    stray.weight[255] = -0.0f;
    for (const OwnedTensor& t : owned_) {
      state_.tensors.push_back({t.name, t.shape, t.weight.data(), t.m.empty() ? nullptr : t.m.data(),
                                t.v.empty() ? nullptr : t.v.data(), t.kept.empty() ? nullptr : t.kept.data()});
    }
  }

  const State& state() const { return state_; }
  State& state() { return state_; }
  std::deque<OwnedTensor>& tensors() { return owned_; }

 private:
  OwnedTensor& Add(const std::string& name, Shape shape, double density, bool moments, bool mask) {
    OwnedTensor& t = owned_.emplace_back();
    t.name = name;
    t.shape = std::move(shape);
    const int64_t n = Elements(t.shape);
    t.weight.resize(n);
    if (mask) t.kept.resize((n + 63) / 64);
    for (int64_t i = 0; i < n; ++i) {
      if (mask && rng_.Uniform() >= density) continue;
      t.weight[i] = Awkward();
      if (mask) t.kept[i / 64] |= uint64_t{1} << (i % 64);
    }
    for (int64_t i = 0; moments && i < n; ++i) {
      t.m.push_back(Awkward());
      t.v.push_back(Awkward());
    }
    return t;
  }

  float Awkward() {
    switch (rng_.Below(16)) {
      case 0:
        return 0.0f;
      case 1:
        return -0.0f;
      case 2:
        return std::bit_cast<float>(0x7fa00001u | static_cast<uint32_t>(rng_.Below(1 << 20)));
      case 3:
        return -std::numeric_limits<float>::infinity();
      case 4:
        return std::numeric_limits<float>::denorm_min();
      default:
        return rng_.Normal();
    }
  }

  testing_support::Rng rng_;
  std::deque<OwnedTensor> owned_;
  State state_;
};

// Empty where the checkpoint holds exactly this state, bit by bit; else what differs first.
inline std::string Difference(const Checkpoint& loaded, TestState& expected) {
  const State& state = expected.state();
  if (loaded.step() != state.step || loaded.position() != state.position || loaded.seed() != state.seed)
    return "numbers";
  if (loaded.texts() != state.texts) return "texts";
  if (loaded.extras().size() != state.extras.size()) return "extras";
  for (const auto& [key, value] : state.extras) {
    const auto found = loaded.extras().find(key);
    if (found == loaded.extras().end() || std::memcmp(&found->second, &value, sizeof(value)) != 0) return key;
  }
  if (loaded.tensors().size() != state.tensors.size()) return "number of tensors";
  for (const OwnedTensor& t : expected.tensors()) {
    const size_t n = t.weight.size(), words = (n + 63) / 64;
    std::vector<float> w(n, 99), m(n, 99), v(n, 99), zeros(n, 0);
    std::vector<uint64_t> kept(words, 99), all(words, ~uint64_t{0});
    if (n % 64 != 0) all.back() = (uint64_t{1} << (n % 64)) - 1;
    const absl::Status status = loaded.CopyInto(t.name, t.shape, w.data(), m.data(), v.data(), kept.data());
    if (!status.ok()) return std::string(status.message());
    const auto same = [&](const std::vector<float>& a, const std::vector<float>& b) {
      return std::memcmp(a.data(), b.data(), n * sizeof(float)) == 0;
    };
    if (!same(w, t.weight)) return t.name + " weight";
    if (!same(m, t.m.empty() ? zeros : t.m)) return t.name + " m";
    if (!same(v, t.v.empty() ? zeros : t.v)) return t.name + " v";
    if (kept != (t.kept.empty() ? all : t.kept)) return t.name + " kept";
  }
  return "";
}

}  // namespace filigree::checkpoint

#endif  // FILIGREE_TESTS_WORKER_CHECKPOINT_TEST_STATE_H_
