#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/candidate_topk/candidate_topk.h"
#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/bench/select.h"
#include "worker/mask/refresh.h"

namespace filigree::bench {
namespace {

using kernels::Buffer;
using kernels::ThreadPool;

size_t Words(int64_t n) { return static_cast<size_t>((n + 63) / 64); }

// What one thread selects into.
struct Selected {
  Buffer<uint64_t> kept;
  kernels::WeightThreshold threshold;
};

struct CandidateData {
  CandidateData(const kernels::WeightSelection& matrix, int64_t nnz, ThreadPool& pool)
      : matrix(matrix),
        selection{matrix.k, matrix.min_alive, matrix.unit},
        dense(static_cast<size_t>(matrix.rows * matrix.cols), 1, pool),
        dense_kept(Words(matrix.rows * matrix.cols)),
        weights(static_cast<size_t>(nnz), 3, pool),
        m(RandomNormals(static_cast<size_t>(nnz), 5, pool)),
        v(RandomNormals(static_cast<size_t>(nnz), 6, pool)),
        selected(pool.threads()) {
    for (float& x : v) x *= x;
    for (Selected& s : selected) s.kept = Buffer<uint64_t>(Words(nnz));
    // All of them newcomers.
    const kernels::Pattern none(static_cast<int>(matrix.rows), static_cast<int>(matrix.cols), 0);
    mask::RefreshInput input;
    input.pattern = none.view();
    input.candidates = nnz;
    pattern = mask::Refresh(input, pool).pattern;
    // Norms of a layer's channels differ about so much.
    row_weight = RandomNormals(static_cast<size_t>(matrix.rows), 7, pool);
    col_weight = RandomNormals(static_cast<size_t>(matrix.cols), 8, pool);
    for (Buffer<float>* weight : {&row_weight, &col_weight}) {
      for (float& x : *weight) x = std::exp(0.5f * x);
    }
  }

  // A selection a thread, as matrices are in training.
  void Select(int64_t call, bool warm, ThreadPool& pool) {
    const float* w = weights.at(call);
    pool.Run(pool.threads(), [&](int64_t i, int) {
      kernels::WeightThreshold* guess = warm ? &selected[i].threshold : nullptr;
      kernels::SelectCandidates(pattern.view(), w, selection, guess, selected[i].kept.data());
    });
  }

  void Refresh(ThreadPool& pool) {
    mask::RefreshInput input;
    input.pattern = pattern.view();
    input.m = m.data();
    input.v = v.data();
    input.kept = selected[0].kept.data();
    input.candidates = pattern.nnz();
    input.eps = 0.1;
    input.row_weight = row_weight.data();
    input.col_weight = col_weight.data();
    input.step = refreshes++;
    mask::Refresh(input, pool);
  }

  const kernels::WeightSelection matrix;
  const kernels::CandidateSelection selection;
  const MovingWeights dense;
  Buffer<uint64_t> dense_kept;
  kernels::WeightThreshold dense_threshold;
  kernels::Pattern pattern;
  const MovingWeights weights;
  Buffer<float> m, v, row_weight, col_weight;
  std::vector<Selected> selected;
  int64_t refreshes = 0;
};

// The job of a case is as many matrices as there are threads.
std::vector<Case> Cases(CandidateData& d, ThreadPool& pool) {
  const double matrices = pool.threads(), one = 1 / matrices;
  const double nnz = static_cast<double>(d.pattern.nnz()), numel = static_cast<double>(d.matrix.rows * d.matrix.cols);
  // A bitmap; for columns also the indices.
  const double read = 4.125 + (d.selection.unit == kernels::Unit::kColumn ? 2 : 0);
  const Level memory = Level::kMemory;
  return {
      {"warm", [&, call = int64_t{0}]() mutable { d.Select(call++, true, pool); }, 0, matrices * read * nnz, memory,
       "dense"},
      {"cold", [&, call = int64_t{0}]() mutable { d.Select(call++, false, pool); }, 0, matrices * read * nnz, memory,
       "dense"},
      // Moments, mask and indices; then new indices and where they come from.
      {"refresh", [&] { d.Refresh(pool); }, 0, (10.125 + 6) * nnz, memory, "dense", one},
      {"dense",
       [&, call = int64_t{0}]() mutable {
         kernels::SelectWeights(d.dense.at(call++), d.matrix, &d.dense_threshold, pool, d.dense_kept.data());
       },
       0, 4.125 * numel, memory, "", one},
  };
}

}  // namespace

absl::StatusOr<Report> RunCandidateSelect(const CandidateSelectSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  constexpr int kMost = 65536;  // of 16-bit indices
  for (const absl::Status& status :
       {CheckWhole("--rows", sizes.matrix.rows, 1, kMost), CheckWhole("--cols", sizes.matrix.cols, 1, kMost)}) {
    if (!status.ok()) return status;
  }
  const absl::StatusOr<kernels::WeightSelection> selection = SelectionOf(sizes.matrix);
  if (!selection.ok()) return selection.status();
  if (!(sizes.candidates >= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("bench: --candidates is {}; it takes numbers from 1, such as 4", sizes.candidates));
  }
  const double numel = static_cast<double>(selection->rows * selection->cols);
  const auto nnz = static_cast<int64_t>(std::min(numel, sizes.candidates * static_cast<double>(selection->k)));
  if (nnz == 0) {
    return absl::InvalidArgumentError(
        fmt::format("bench: --density {} keeps no entry of {} x {}; make it larger, or the matrix",
                    sizes.matrix.density, selection->rows, selection->cols));
  }

  Bench bench(checked->threads);
  CandidateData data(*selection, nnz, bench.pool);
  Report report{.bench = "candidate_select", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"rows", selection->rows},           {"cols", selection->cols},
                  {"density", sizes.matrix.density},   {"k", selection->k},
                  {"candidates", sizes.candidates},    {"nnz", nnz},
                  {"min_alive", selection->min_alive}, {"unit", sizes.matrix.unit}};
  report.results = Measure(Cases(data, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
