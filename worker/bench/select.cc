#include "worker/bench/select.h"

#include <algorithm>
#include <cmath>

#include "kernels/shared_topk/shared_topk.h"
#include "kernels/weight_topk/weight_topk.h"
#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/machine/probe.h"

namespace filigree::bench {
namespace {

using kernels::Unit;

constexpr int kSharing = 4;

struct SelectData {
  SelectData(const kernels::WeightSelection& selection, kernels::ThreadPool& pool)
      : selection(selection),
        weights(static_cast<size_t>(selection.rows * selection.cols), 1, pool),
        kept((weights.size() + 63) / 64),
        scratch(weights.size()) {}

  // The matrix cut into as many as share a threshold, by rows.
  std::vector<kernels::SharingMatrix> Sharing(int64_t call) const {
    std::vector<kernels::SharingMatrix> matrices;
    for (int64_t i = 0; i < kSharing; ++i) {
      const int64_t begin = selection.rows * i / kSharing, end = selection.rows * (i + 1) / kSharing;
      if (begin == end) continue;
      const int64_t longest = selection.unit == Unit::kColumn ? end - begin : selection.cols;
      kernels::SharingMatrix matrix{weights.at(call) + begin * selection.cols, end - begin, selection.cols};
      matrix.unit = selection.unit;
      // Columns are cut with the rows: a unit keeps its share of what it keeps in the whole.
      matrix.min_alive = selection.unit == Unit::kColumn ? selection.min_alive / kSharing : selection.min_alive;
      matrix.min_alive = static_cast<int>(std::min<int64_t>(matrix.min_alive, longest));
      matrices.push_back(matrix);
    }
    return matrices;
  }

  const kernels::WeightSelection selection;
  const MovingWeights weights;
  kernels::Buffer<uint64_t> kept;
  kernels::WeightThreshold threshold;
  float shared_threshold = 0;
  std::vector<float> scratch;
};

void ReadAll(const float* w, size_t n, kernels::ThreadPool& pool) {
  constexpr size_t kBlock = 1 << 16;
  pool.Run(static_cast<int64_t>((n + kBlock - 1) / kBlock), [&](int64_t i, int) {
    float sink = 0;
    machine::ReadOnce(w + i * kBlock, std::min(kBlock, n - i * kBlock) / 256 * 256, &sink);
  });
}

// The k-th magnitude of the whole matrix, on one thread: what the standard library offers. No minimum for units, no
// mask.
void NthMagnitude(const float* w, int64_t k, std::vector<float>& scratch) {
  for (size_t i = 0; i < scratch.size(); ++i) scratch[i] = std::abs(w[i]);
  std::nth_element(scratch.begin(), scratch.begin() + std::max<int64_t>(k - 1, 0), scratch.end(), std::greater<>());
}

std::vector<Case> Cases(SelectData& d, kernels::ThreadPool& pool) {
  const double bytes = 4 * static_cast<double>(d.weights.size());
  const Level memory = Level::kMemory;
  const auto each = [&](auto work) { return [&d, work, call = int64_t{0}]() mutable { work(d.weights.at(call++)); }; };
  const auto select = [&](const float* w, kernels::WeightThreshold* threshold) {
    kernels::SelectWeights(w, d.selection, threshold, pool, d.kept.data());
  };
  return {
      {"warm", each([&d, select](const float* w) { select(w, &d.threshold); }), 0, bytes, memory, "read"},
      {"cold", each([select](const float* w) {
         kernels::WeightThreshold none;
         select(w, &none);
       }),
       0, bytes, memory, "nth_element"},
      {"shared",
       [&d, &pool, call = int64_t{0}]() mutable {
         kernels::ShareEntries(d.Sharing(call++), d.selection.k, &d.shared_threshold, pool);
       },
       0, bytes, memory, "read"},
      {"read", each([&d, &pool](const float* w) { ReadAll(w, d.weights.size(), pool); }), 0, bytes, memory},
      {"nth_element", each([&d](const float* w) { NthMagnitude(w, d.selection.k, d.scratch); }), 0, bytes, memory},
  };
}

}  // namespace

absl::StatusOr<kernels::WeightSelection> SelectionOf(const SelectSizes& s) {
  kernels::WeightSelection selection{.rows = s.rows, .cols = s.cols};
  if (s.unit == "row") {
    selection.unit = Unit::kRow;
  } else if (s.unit == "column") {
    selection.unit = Unit::kColumn;
  } else if (s.unit != "none") {
    return absl::InvalidArgumentError("bench: --unit is \"" + s.unit + "\"; it takes row, column or none");
  }
  constexpr int kMost = 1 << 20;
  for (const absl::Status& status :
       {CheckWhole("--rows", s.rows, 1, kMost), CheckWhole("--cols", s.cols, 1, kMost),
        CheckShare("--density", s.density), CheckWhole("--min-alive", s.min_alive, 0, kMost),
        CheckMemory(17.0 * s.rows * s.cols)}) {
    if (!status.ok()) return status;
  }
  selection.k = static_cast<int64_t>(std::floor(s.density * static_cast<double>(selection.rows) * s.cols));
  // As in training: lowered where k is too small.
  const int64_t units = selection.unit == Unit::kRow ? selection.rows : selection.cols;
  if (selection.unit != Unit::kNone) {
    selection.min_alive = static_cast<int>(std::min<int64_t>(s.min_alive, selection.k / units));
  }
  return selection;
}

absl::StatusOr<Report> RunSelect(const SelectSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  const absl::StatusOr<kernels::WeightSelection> selection = SelectionOf(sizes);
  if (!selection.ok()) return selection.status();

  Bench bench(checked->threads);
  SelectData data(*selection, bench.pool);
  Report report{.bench = "select", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"rows", sizes.rows},
                  {"cols", sizes.cols},
                  {"density", sizes.density},
                  {"k", selection->k},
                  {"min_alive", selection->min_alive},
                  {"unit", sizes.unit}};
  report.results = Measure(Cases(data, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
