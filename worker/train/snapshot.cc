#include "worker/train/snapshot.h"

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

MatrixSnapshot SnapshotOf(const model::TensorInfo& info, const float* w) {
  MatrixSnapshot out;
  out.name = info.name;
  out.layer = info.layer;
  out.kind = ShortKind(info.kind);
  out.numel = info.numel();
  const bool by_column = info.unit == kernels::Unit::kColumn;
  out.units = by_column ? info.cols : info.rows;
  std::vector<bool> alive(out.units);
  float smallest = std::numeric_limits<float>::infinity();
  for (int64_t r = 0; r < info.rows; ++r) {
    for (int64_t c = 0; c < info.cols; ++c) {
      const float magnitude = std::abs(w[r * info.cols + c]);
      if (magnitude == 0) continue;
      ++out.nnz;
      alive[by_column ? c : r] = true;
      ++out.magnitudes[telemetry::MagnitudeBin(magnitude)];
      if (magnitude < smallest) smallest = magnitude;
    }
  }
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
    record.matrices[i] = SnapshotOf(info, state.weights.tensor(info));
  });
  return record;
}

}  // namespace filigree::train
