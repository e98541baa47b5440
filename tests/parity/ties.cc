#include "tests/parity/ties.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "tests/parity/tensor_comparer.h"
#include "worker/mask/min_alive.h"

namespace filigree::parity {
namespace {

bool Kept(const uint64_t* kept, int64_t i) { return (kept[i / 64] >> (i % 64) & 1) != 0; }

// The least of those that are kept and the largest of those that are not; -1: none.
struct Edge {
  int64_t kept = -1, dropped = -1;

  void Add(const std::vector<double>& w, int64_t i, bool is_kept) {
    int64_t& edge = is_kept ? kept : dropped;
    const bool nearer =
        edge < 0 || (is_kept ? std::fabs(w[i]) < std::fabs(w[edge]) : std::fabs(w[i]) > std::fabs(w[edge]));
    if (nearer) edge = i;
  }
};

int64_t UnitOf(const model::TensorInfo& info, int64_t i) {
  return info.unit == kernels::Unit::kRow ? i / info.cols : i % info.cols;
}

// Where a selection can turn: inside a unit that keeps no more than its minimum, and among all others together.
std::vector<Edge> EdgesOf(const model::TensorInfo& info, const std::vector<double>& w, const uint64_t* kept,
                          int64_t min_alive) {
  const int64_t units = min_alive > 0 ? mask::UnitsOf(info) : 0;
  std::vector<int64_t> alive(units);
  for (int64_t i = 0; units > 0 && i < info.numel(); ++i) alive[UnitOf(info, i)] += Kept(kept, i) ? 1 : 0;
  std::vector<Edge> edges(units + 1);
  for (int64_t i = 0; i < info.numel(); ++i) {
    const bool is_kept = Kept(kept, i);
    const bool poor = units > 0 && alive[UnitOf(info, i)] <= min_alive;
    if (poor) edges[UnitOf(info, i)].Add(w, i, is_kept);
    if (!poor || !is_kept) edges[units].Add(w, i, is_kept);
  }
  return edges;
}

}  // namespace

TieWatch::TieWatch(const GoldenCase& golden, const config::Settings& settings, const train::TrainState& state)
    : golden_(golden), settings_(settings), state_(state) {}

void TieWatch::Before() { weights_.assign(state_.weights.data(), state_.weights.data() + state_.weights.size()); }

std::vector<Tie> TieWatch::After(int64_t step, double lr) const {
  std::vector<Tie> ties;
  for (const model::TensorInfo& info : state_.registry.tensors()) {
    if (state_.masks.kept(info.index) != nullptr) OfMatrix(step, lr, info, ties);
  }
  return ties;
}

void TieWatch::OfMatrix(int64_t step, double lr, const model::TensorInfo& info, std::vector<Tie>& ties) const {
  // The weights that were chosen from: what is not kept is 0 by now.
  const float* before = weights_.data() + state_.layout->offset(info.index);
  const float *m = state_.optimizer.m().tensor(info), *v = state_.optimizer.v().tensor(info);
  const double bias1 = 1 - std::pow(settings_.optim.beta1, step + 1),
               bias2 = 1 - std::pow(settings_.optim.beta2, step + 1);
  std::vector<double> w(info.numel());
  for (int64_t i = 0; i < info.numel(); ++i) {
    w[i] = before[i] - lr * (m[i] / bias1) / (std::sqrt(v[i] / bias2) + settings_.optim.eps);
  }
  const uint64_t* kept = state_.masks.kept(info.index);
  const int64_t k = state_.masks.nonzeros(info.index);
  double squares = 0;
  for (int64_t i = 0; i < info.numel(); ++i) squares += Kept(kept, i) ? w[i] * w[i] : 0;
  const double rounding =
      std::sqrt(2.0) * BoundOf(golden_, "out." + info.name) * std::sqrt(squares / static_cast<double>(k));
  const int64_t j = mask::EffectiveMinAlive(info, k, settings_.sparsity.min_alive).j;
  for (const Edge& edge : EdgesOf(info, w, kept, j)) {
    if (edge.kept < 0 || edge.dropped < 0 || w[edge.dropped] == 0) continue;
    const double least = std::fabs(w[edge.kept]), gap = least - std::fabs(w[edge.dropped]);
    if (gap > rounding) continue;
    const double decay = info.decays ? state_.optimizer.DecayFactor(lr) : 1;
    ties.push_back({step, info.index, edge.kept, edge.dropped, std::max(gap, 0.0) / least, rounding / least,
                    static_cast<float>(w[edge.dropped] * decay)});
  }
}

void TakeOtherWay(const Tie& tie, train::TrainState& state) {
  float* w = state.weights.tensor(state.registry[tie.tensor]);
  w[tie.kept] = 0;
  w[tie.dropped] = tie.other;
  const int64_t stored = state.layout->stored(tie.tensor);
  const uint64_t* kept = state.masks.kept(tie.tensor);
  std::vector<uint64_t> turned(kept, kept + (stored + 63) / 64);
  for (const int64_t i : {tie.kept, tie.dropped}) turned[i / 64] ^= uint64_t{1} << (i % 64);
  state.masks.Restore(tie.tensor, turned.data(), stored, state.masks.threshold(tie.tensor));
}

Comparison RowOf(const GoldenCase& golden, const model::Registry& registry, const Tie& tie, bool other_way) {
  Comparison row;
  row.case_name = golden.name;
  row.subject = fmt::format("tie at step {}: {}", tie.step, registry[tie.tensor].name);
  row.distance = tie.gap;
  row.bound = tie.bound;
  row.note = fmt::format("entry {} before {}, or the other way round: {}", tie.kept, tie.dropped,
                         other_way ? "so in the truth, and in the run that was compared" : "as in the truth");
  return row;
}

}  // namespace filigree::parity
