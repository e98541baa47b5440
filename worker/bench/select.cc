#include "worker/bench/select.h"

#include <algorithm>
#include <cmath>

#include "kernels/weight_topk/weight_topk.h"
#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/machine/probe.h"

namespace filigree::bench {
namespace {

using kernels::Unit;

// A matrix before and after a small step, so that a threshold is never from the very weights it is used on.
struct SelectData {
  SelectData(const SelectSizes& s, const kernels::WeightSelection& selection, kernels::ThreadPool& pool)
      : selection(selection),
        before(RandomNormals(static_cast<size_t>(s.rows) * s.cols, 1, pool)),
        after(RandomNormals(static_cast<size_t>(s.rows) * s.cols, 2, pool)),
        kept((before.size() + 63) / 64),
        scratch(before.size()) {
    for (size_t i = 0; i < after.size(); ++i) after[i] = before[i] + 1e-3f * after[i];
  }
  // The matrix of the next call: before and after in turn.
  const float* next() { return (calls++ % 2 == 0 ? before : after).data(); }

  const kernels::WeightSelection selection;
  kernels::Buffer<float> before, after;
  kernels::Buffer<uint64_t> kept;
  kernels::WeightThreshold threshold;
  std::vector<float> scratch;
  int64_t calls = 0;
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
  const double bytes = 4 * static_cast<double>(d.before.size());
  const Level memory = Level::kMemory;
  return {
      {"warm", [&] { kernels::SelectWeights(d.next(), d.selection, &d.threshold, pool, d.kept.data()); }, 0, bytes,
       memory, "read"},
      {"cold",
       [&] {
         kernels::WeightThreshold none;
         kernels::SelectWeights(d.next(), d.selection, &none, pool, d.kept.data());
       },
       0, bytes, memory, "nth_element"},
      {"read", [&] { ReadAll(d.next(), d.before.size(), pool); }, 0, bytes, memory},
      {"nth_element", [&] { NthMagnitude(d.next(), d.selection.k, d.scratch); }, 0, bytes, memory},
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
  SelectData data(sizes, *selection, bench.pool);
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
