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

// A small state of awkward shapes that owns its arrays: dense and sparse tensors and, in the active regime, tensors on
// candidates, one of each storage, with kept zeros, negative zeros, infinities and NaNs with payloads.

namespace filigree::checkpoint {

struct OwnedTensor {
  std::string name;
  Shape shape;
  std::vector<float> weight, m, v;
  std::vector<uint64_t> kept;  // empty: dense
  kernels::Pattern candidates;
  kernels::PatternView view;  // of candidates; without entries: the tensor is whole

  bool whole() const { return view.nnz() == 0; }
  // Global index of every value, ascending.
  std::vector<int64_t> Indices() const {
    std::vector<int64_t> indices(weight.size());
    for (size_t i = 0; whole() && i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i);
    for (int r = 0; r < view.rows; ++r) {
      for (uint32_t e = view.row_offsets[r]; e < view.row_offsets[r + 1]; ++e) {
        indices[e] = int64_t{r} * view.cols + view.col_indices[e];
      }
    }
    return indices;
  }
  bool IsKept(size_t i) const { return kept.empty() || (kept[i / 64] >> (i % 64) & 1) != 0; }
  // Values as an array of the whole tensor, 0 where it has none; of no values: zeros.
  std::vector<float> Whole(const std::vector<float>& values) const {
    std::vector<float> dense(Elements(shape), 0.0f);
    const std::vector<int64_t> indices = Indices();
    for (size_t i = 0; i < values.size(); ++i) dense[indices[i]] = values[i];
    return dense;
  }
  std::vector<uint64_t> WholeKept() const {
    std::vector<uint64_t> dense((Elements(shape) + 63) / 64, 0);
    const std::vector<int64_t> indices = Indices();
    for (size_t i = 0; i < indices.size(); ++i) {
      if (IsKept(i)) dense[indices[i] / 64] |= uint64_t{1} << (indices[i] % 64);
    }
    return dense;
  }
};

enum class Regime { kExact, kActive };

class TestState {
 public:
  explicit TestState(uint64_t seed, int64_t step = 10, Regime regime = Regime::kExact) : rng_(seed) {
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
    if (regime == Regime::kActive) {
      AddOnCandidates("x.csr.weight", {37, 65}, 0.2, 0.5, true);
      AddOnCandidates("x.all.weight", {9, 15}, 0.3, 1, true).kept.clear();  // every candidate kept
      AddOnCandidates("x.empty.weight", {33, 7}, 0.3, 0, true);             // none of them kept
      AddOnCandidates("x.full.weight", {4, 16}, 1, 1, true);                // every position a candidate, and kept
      AddOnCandidates("x.bias", {131}, 0.4, 0.5, true);
      AddOnCandidates("x.still.weight", {3, 2, 40}, 0.3, 0.5, false);
      OwnedTensor& stray_reserve = AddOnCandidates("x.stray.weight", {11, 70}, 0.4, 0.5, true);
      stray_reserve.kept[1] &= ~(uint64_t{1} << 5);
      stray_reserve.weight[64 + 5] = -0.0f;
    }
    for (const OwnedTensor& t : owned_) {
      state_.tensors.push_back({t.name, t.shape, t.weight.data(), t.m.empty() ? nullptr : t.m.data(),
                                t.v.empty() ? nullptr : t.v.data(), t.kept.empty() ? nullptr : t.kept.data(),
                                t.whole() ? nullptr : &t.view});
    }
  }

  // State points into this object.
  TestState(const TestState&) = delete;
  TestState& operator=(const TestState&) = delete;

  const State& state() const { return state_; }
  State& state() { return state_; }
  std::deque<OwnedTensor>& tensors() { return owned_; }

 private:
  OwnedTensor& Add(const std::string& name, Shape shape, double density, bool moments, bool mask) {
    OwnedTensor& t = owned_.emplace_back();
    t.name = name;
    t.shape = std::move(shape);
    const int64_t n = Elements(t.shape);
    Fill(t, n, density, moments, mask);
    return t;
  }

  OwnedTensor& AddOnCandidates(const std::string& name, Shape shape, double candidates, double kept, bool moments) {
    OwnedTensor& t = owned_.emplace_back();
    t.name = name;
    t.shape = std::move(shape);
    const int64_t n = Elements(t.shape);
    std::vector<uint64_t> positions((n + 63) / 64, 0);
    for (int64_t i = 0; i < n; ++i) {
      if (rng_.Uniform() < candidates) positions[i / 64] |= uint64_t{1} << (i % 64);
    }
    const auto cols = static_cast<int>(t.shape.back());
    t.candidates = kernels::Pattern::FromDenseBitmap(static_cast<int>(n / cols), cols, positions.data());
    t.view = t.candidates.view();
    Fill(t, t.view.nnz(), kept, moments, /*mask=*/true);
    return t;
  }

  void Fill(OwnedTensor& t, int64_t n, double density, bool moments, bool mask) {
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

inline bool SameBits(const float* a, const float* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0;
}

// Empty where the checkpoint holds exactly this tensor, read as a whole one.
inline std::string WholeDifference(const Checkpoint& loaded, const OwnedTensor& t) {
  const size_t n = Elements(t.shape);
  std::vector<float> w(n, 99), m(n, 99), v(n, 99);
  std::vector<uint64_t> kept((n + 63) / 64, 99);
  const absl::Status status = loaded.CopyInto(t.name, t.shape, w.data(), m.data(), v.data(), kept.data());
  if (!status.ok()) return std::string(status.message());
  if (!SameBits(w.data(), t.Whole(t.weight).data(), n)) return t.name + " weight";
  if (!SameBits(m.data(), t.Whole(t.m).data(), n)) return t.name + " m";
  if (!SameBits(v.data(), t.Whole(t.v).data(), n)) return t.name + " v";
  return kept == t.WholeKept() ? "" : t.name + " kept";
}

// The same, read on candidates; those of a whole tensor are the entries that it keeps.
inline std::string CandidateDifference(const Checkpoint& loaded, const OwnedTensor& t) {
  auto read = loaded.CopyCandidates(t.name, t.shape);
  if (!read.ok()) return std::string(read.status().message());
  if (!kernels::IsSound(read->pattern.view())) return t.name + " pattern";
  const std::vector<int64_t> all = t.Indices();
  std::vector<int64_t> indices;
  std::vector<float> w, m, v;
  std::vector<uint64_t> kept;
  for (size_t i = 0; i < t.weight.size(); ++i) {
    if (t.whole() && !t.IsKept(i)) continue;
    if (indices.size() % 64 == 0) kept.push_back(0);
    kept.back() |= uint64_t{t.IsKept(i)} << (indices.size() % 64);
    indices.push_back(all[i]);
    w.push_back(t.weight[i]);
    m.push_back(t.m.empty() ? 0.0f : t.m[i]);
    v.push_back(t.v.empty() ? 0.0f : t.v[i]);
  }
  const size_t n = indices.size();
  OwnedTensor positions;
  positions.view = read->pattern.view();
  positions.weight.resize(read->pattern.nnz());
  if (read->pattern.nnz() != static_cast<int64_t>(n) || (n > 0 && positions.Indices() != indices)) {
    return t.name + " candidates";
  }
  if (read->weight.size() != n || !SameBits(read->weight.data(), w.data(), n)) return t.name + " candidate weights";
  if (read->m.size() != n || !SameBits(read->m.data(), m.data(), n)) return t.name + " candidate m";
  if (read->v.size() != n || !SameBits(read->v.data(), v.data(), n)) return t.name + " candidate v";
  if (std::vector<uint64_t>(read->kept.begin(), read->kept.end()) != kept) return t.name + " candidates kept";
  return "";
}

// Empty where the checkpoint holds exactly this state, bit by bit; else what differs first.
inline std::string Difference(const Checkpoint& loaded, TestState& expected) {
  const State& state = expected.state();
  if (loaded.step() != state.step || loaded.position() != state.position || loaded.seed() != state.seed)
    return "numbers";
  if (loaded.texts() != state.texts) return "texts";
  if (loaded.extras().size() != state.extras.size()) return "extras";
  for (const auto& [key, value] : state.extras) {
    const auto found = loaded.extras().find(key);
    if (found == loaded.extras().end() || std::bit_cast<uint64_t>(found->second) != std::bit_cast<uint64_t>(value))
      return key;
  }
  if (loaded.tensors().size() != state.tensors.size()) return "number of tensors";
  for (const OwnedTensor& t : expected.tensors()) {
    std::string difference = WholeDifference(loaded, t);
    if (difference.empty()) difference = CandidateDifference(loaded, t);
    if (!difference.empty()) return difference;
    if (loaded.Find(t.name)->candidates != t.view.nnz()) return t.name + " number of candidates";
  }
  return "";
}

}  // namespace filigree::checkpoint

#endif  // FILIGREE_TESTS_WORKER_CHECKPOINT_TEST_STATE_H_
