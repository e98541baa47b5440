#include "kernels/candidates/candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "worker/bench/bench.h"
#include "worker/bench/dense_gemm.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"

namespace filigree::bench {
namespace {

using kernels::Buffer;
using kernels::kTileTokens;
using kernels::ThreadPool;

int64_t Numel(const CandidatesSizes& s) { return int64_t{s.out} * s.in; }
int64_t KeptCount(const CandidatesSizes& s) {
  return static_cast<int64_t>(std::floor(s.density * static_cast<double>(Numel(s))));
}
double CandidateDensity(const CandidatesSizes& s) { return std::min(1.0, s.candidates * s.density); }

// The positions of the compressed rows `of`.
kernels::Pattern PatternOf(const kernels::CsrView& of) {
  kernels::Pattern pattern(of.rows, of.cols, of.nnz());
  std::copy_n(of.row_offsets, of.rows + 1, pattern.row_offsets());
  std::copy_n(of.col_indices, of.nnz(), pattern.col_indices());
  return pattern;
}

// A bitmap of the k largest of n weights by magnitude.
std::vector<uint64_t> Largest(const float* w, int64_t n, int64_t k) {
  std::vector<float> magnitudes(n);
  for (int64_t e = 0; e < n; ++e) magnitudes[e] = std::abs(w[e]);
  std::vector<uint64_t> kept((n + 63) / 64);
  if (k == 0) return kept;
  std::nth_element(magnitudes.begin(), magnitudes.begin() + (n - k), magnitudes.end());
  const float threshold = magnitudes[n - k];
  for (int64_t e = 0; e < n && k > 0; ++e) {
    if (std::abs(w[e]) < threshold) continue;
    kept[e / 64] |= uint64_t{1} << e % 64;
    --k;
  }
  return kept;
}

struct CandidatesData {
  CandidatesData(const CandidatesSizes& s, int kept_in, int kept_out, ThreadPool& pool)
      : weights(RandomWeights(s.out, s.in, CandidateDensity(s), 1, pool)),
        pattern(PatternOf(weights.rows.view())),
        kept(Largest(weights.rows.view().values, pattern.nnz(), KeptCount(s))),
        x(RandomActivations(s.in, kernels::TilesOf(s.tokens), kept_in, 2, pool)),
        dy(RandomActivations(s.out, kernels::TilesOf(s.tokens), kept_out, 3, pool)),
        y(dy.values.size()),
        dx(x.values.size()),
        dw(weights.dense.size()),
        bias(s.out),
        gradient(pattern.nnz()) {
    matrix.SetPattern(pattern.view(), pool);
    matrix.SetWeights(weights.rows.view().values, kept.data(), pool);
    partials.reserve(pool.threads());
    for (int i = 0; i < pool.threads(); ++i) partials.emplace_back(pattern.nnz() + 16);
    for (const Buffer<float>& partial : partials) all_partials.push_back(partial.data());
  }
  kernels::Tile y_tile(int64_t i) { return {y.data() + i * dy.stride(), dy.channels}; }
  kernels::Tile dx_tile(int64_t i) { return {dx.data() + i * x.stride(), x.channels}; }

  SparseWeights weights;  // whole for the baselines; in compressed rows its candidates, of which `kept` are not zero
  kernels::Pattern pattern;
  std::vector<uint64_t> kept;
  Activations x, dy;
  Buffer<float> y, dx, dw, bias, gradient;
  kernels::CandidateMatrix matrix;
  std::vector<Buffer<float>> partials;  // one a thread
  std::vector<const float*> all_partials;
};

absl::Status Check(const CandidatesSizes& s) {
  constexpr int kMost = 65536;  // 16-bit indices
  for (const absl::Status& status :
       {CheckWhole("--out", s.out, 1, kMost), CheckWhole("--in", s.in, 1, kMost),
        CheckWhole("--tokens", s.tokens, 1, 1 << 22), CheckShare("--density", s.density)}) {
    if (!status.ok()) return status;
  }
  if (!(s.candidates >= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("--candidates is {}: it must be at least 1, as every weight is a candidate; try 4", s.candidates));
  }
  const auto matrix = static_cast<double>(Numel(s));
  const double activations = (2.0 * s.out + 2.0 * s.in) * s.tokens;
  return CheckMemory(4 * (2 * matrix + activations) + 80 * CandidateDensity(s) * matrix);
}

void Forward(CandidatesData& d, ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) { d.matrix.Forward(d.x.tile(i), d.bias.data(), d.y_tile(i)); });
}

void Backward(CandidatesData& d, ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) { d.matrix.Backward(d.dy.tile(i), d.dx_tile(i)); });
}

// With the gradient, or that alone.
void Gradient(CandidatesData& d, bool with_dx, ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int worker) {
    d.matrix.BackwardWithGradient(d.dy.tile(i), d.x.tile(i), with_dx ? d.dx_tile(i) : kernels::Tile{},
                                  d.partials[worker].data());
  });
}

void GemmForward(CandidatesData& d, ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) {
    kernels::GemmForward(d.weights.dense.data(), d.dy.channels, d.x.channels, d.x.tile(i), d.bias.data(), d.y_tile(i));
  });
}

void GemmBackward(CandidatesData& d, ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) {
    kernels::GemmBackward(d.weights.dense.data(), d.dy.channels, d.x.channels, d.dy.tile(i), d.dx_tile(i));
  });
}

// The sums over rows of W and of its transpose keep their order, so every nonzero reads a row of the tile. Those of the
// gradient are free to wait in L1: of these each tile's rows count once.
std::vector<Case> SparseCases(const CandidatesSizes& s, CandidatesData& d, ThreadPool& pool) {
  const double row = kTileTokens * sizeof(float), tiles = d.x.tiles, tokens = tiles * kTileTokens;
  const auto n = static_cast<double>(d.pattern.nnz()), kept = static_cast<double>(KeptCount(s));
  const double partials = static_cast<double>(d.partials.size());
  const float* w = d.weights.rows.view().values;
  return {
      {"forward", [&] { Forward(d, pool); }, 2 * kept * tokens, tiles * row * (kept + s.out), Level::kL2,
       "dense_forward"},
      {"dx", [&] { Backward(d, pool); }, 2 * kept * tokens, tiles * row * (kept + s.in), Level::kL2, "dense_dx"},
      {"dw", [&] { Gradient(d, false, pool); }, 2 * n * tokens, tiles * row * (s.out + s.in), Level::kL2, "dense_dw"},
      {"dx_and_dw", [&] { Gradient(d, true, pool); }, 2 * (kept + n) * tokens,
       tiles * row * (kept + s.out + 2.0 * s.in), Level::kL2, "dense_dx_and_dw"},
      {"sum_partials", [&] { d.matrix.SumPartials(d.all_partials, false, d.gradient.data(), pool); }, n * partials,
       4 * n * (partials + 2), Level::kMemory},
      // Values and bitmap read; of the kept, values and positions written, by rows and by columns.
      {"set_weights", [&d, &pool, w] { d.matrix.SetWeights(w, d.kept.data(), pool); }, 0, n * (4 + 1 / 8.0) + 12 * kept,
       Level::kMemory},
      // Positions read, copied, and by columns with where they came from.
      {"set_pattern",
       [&d, &pool, w] {
         d.matrix.SetPattern(d.pattern.view(), pool);
         d.matrix.SetWeights(w, d.kept.data(), pool);
       },
       0, n * (14 + 1 / 8.0) + 12 * kept, Level::kMemory},
  };
}

std::vector<Case> DenseCases(const CandidatesSizes& s, CandidatesData& d, ThreadPool& pool) {
  const DenseShape shape{.out = s.out, .in = s.in, .tokens = d.x.tiles * kTileTokens};
  const double tokens = shape.tokens;
  const double touched = 4 * (tokens * s.in + tokens * s.out + static_cast<double>(Numel(s)));
  const float *w = d.weights.dense.data(), *x = d.x.values.data(), *dy = d.dy.values.data();
  const auto forward = [=, &d, &pool] { DenseForward(shape, w, x, d.y.data(), pool); };
  const auto dx = [=, &d, &pool] { DenseInputGradient(shape, w, dy, d.dx.data(), pool); };
  const auto dw = [=, &d, &pool] { DenseWeightGradient(shape, dy, x, d.dw.data(), pool); };
  const auto both = [dx, dw] {
    dx();
    dw();
  };
  return {
      {"dense_forward", forward, shape.flops(), touched},
      {"dense_dx", dx, shape.flops(), touched},
      {"dense_dw", dw, shape.flops(), touched},
      {"dense_dx_and_dw", both, 2 * shape.flops(), 2 * touched},
      {"gemm_forward", [&] { GemmForward(d, pool); }, shape.flops(), touched, Level::kMemory, "dense_forward"},
      {"gemm_dx", [&] { GemmBackward(d, pool); }, shape.flops(), touched, Level::kMemory, "dense_dx"},
  };
}

}  // namespace

absl::StatusOr<Report> RunCandidates(const CandidatesSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  if (absl::Status status = Check(sizes); !status.ok()) return status;
  const absl::StatusOr<int> kept_in = KeptChannels(sizes.afrac, sizes.in),
                            kept_out = KeptChannels(sizes.afrac, sizes.out);
  if (!kept_in.ok()) return kept_in.status();
  if (!kept_out.ok()) return kept_out.status();

  Bench bench(checked->threads);
  CandidatesData data(sizes, *kept_in, *kept_out, bench.pool);
  Report report{.bench = "candidates", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"out", sizes.out},
                  {"in", sizes.in},
                  {"tokens", sizes.tokens},
                  {"density", sizes.density},
                  {"candidates", sizes.candidates},
                  {"afrac", sizes.afrac},
                  {"kept", KeptCount(sizes)},
                  {"nnz", data.pattern.nnz()}};
  std::vector<Case> cases = SparseCases(sizes, data, bench.pool);
  for (Case& dense : DenseCases(sizes, data, bench.pool)) cases.push_back(std::move(dense));
  report.results = Measure(cases, checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
