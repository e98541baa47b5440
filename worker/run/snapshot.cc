#include "worker/run/snapshot.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace filigree::train {
namespace {

using telemetry::MatrixSnapshot;

std::string ShortKind(std::string kind) {
  for (const std::string& affix : {std::string("transformer."), std::string(".weight")}) {
    if (const size_t at = kind.find(affix); at != std::string::npos) kind.erase(at, affix.size());
  }
  return kind;
}

// Calls visit(row, column, weight) for every stored value; candidates: null where the matrix is whole.
template <typename Visit>
void ForEachStored(const model::TensorInfo& info, const kernels::PatternView* candidates, const float* w, Visit visit) {
  for (int64_t r = 0; r < info.rows; ++r) {
    if (candidates == nullptr) {
      for (int64_t c = 0; c < info.cols; ++c) visit(r, c, w[r * info.cols + c]);
      continue;
    }
    for (uint32_t e = candidates->row_offsets[r]; e < candidates->row_offsets[r + 1]; ++e) {
      visit(r, int64_t{candidates->col_indices[e]}, w[e]);
    }
  }
}

MatrixSnapshot SnapshotOf(const model::TensorInfo& info, const kernels::PatternView* candidates, const float* w) {
  MatrixSnapshot out;
  out.name = info.name;
  out.layer = info.layer;
  out.kind = ShortKind(info.kind);
  out.numel = info.numel();
  const bool by_column = info.unit == kernels::Unit::kColumn;
  out.units = by_column ? info.cols : info.rows;
  std::vector<bool> alive(out.units);
  float smallest = std::numeric_limits<float>::infinity();
  ForEachStored(info, candidates, w, [&](int64_t r, int64_t c, float weight) {
    const float magnitude = std::abs(weight);
    if (magnitude == 0) return;
    ++out.nnz;
    alive[by_column ? c : r] = true;
    ++out.magnitudes[telemetry::MagnitudeBin(magnitude)];
    if (magnitude < smallest) smallest = magnitude;
  });
  for (const bool unit : alive) out.alive_units += unit ? 1 : 0;
  out.threshold = out.nnz > 0 ? smallest : 0;
  return out;
}

}  // namespace

telemetry::SnapshotRecord TakeSnapshot(const TrainState& state, kernels::ThreadPool& pool) {
  std::vector<int> matrices;
  for (int i = 0; i < state.registry.size(); ++i) {
    if (state.masks.sparsified(i) && state.registry[i].rows > 1) matrices.push_back(i);
  }
  telemetry::SnapshotRecord record;
  record.step = state.step;
  record.matrices.resize(matrices.size());
  pool.Run(static_cast<int64_t>(matrices.size()), [&](int64_t i, int) {
    const model::TensorInfo& info = state.registry[matrices[i]];
    record.matrices[i] = SnapshotOf(info, state.layout->candidates(info.index), state.weights.tensor(info));
  });
  return record;
}

}  // namespace filigree::train
