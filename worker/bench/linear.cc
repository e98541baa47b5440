#include <algorithm>
#include <cmath>

#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/sddmm/sddmm.h"
#include "kernels/spmm/spmm.h"
#include "worker/bench/bench.h"
#include "worker/bench/dense_gemm.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"

namespace filigree::bench {
namespace {

using kernels::kTileTokens;

struct LinearData {
  LinearData(const LinearSizes& s, int kept_in, int kept_out, kernels::ThreadPool& pool)
      : weights(RandomWeights(s.out, s.in, s.density, 1, pool)),
        x(RandomActivations(s.in, kernels::TilesOf(s.tokens), kept_in, 2, pool)),
        dy(RandomActivations(s.out, kernels::TilesOf(s.tokens), kept_out, 3, pool)),
        y(dy.values.size()),
        dx(x.values.size()),
        dw(weights.dense.size()),
        bias(s.out),
        x_bf16(x.values.size() / 2),
        scratch(pool.threads()) {
    kernels::Buffer<float> rounded(x.values.size());
    std::copy(x.values.begin(), x.values.end(), rounded.begin());
    const int rows = x.tiles * x.channels;
    kernels::RoundToBf16({rounded.data(), rows}, {x_bf16.data(), rows});
  }
  size_t bf16_stride() const { return static_cast<size_t>(x.channels) * kernels::kBf16RowWords; }

  SparseWeights weights;
  Activations x, dy;
  kernels::Buffer<float> y, dx, dw, bias;
  kernels::Buffer<uint32_t> x_bf16;  // x, rounded
  std::vector<kernels::SddmmScratch> scratch;
};

absl::Status Check(const LinearSizes& s) {
  constexpr int kMost = 65536;  // 16-bit indices
  for (const absl::Status& status :
       {CheckWhole("--out", s.out, 1, kMost), CheckWhole("--in", s.in, 1, kMost),
        CheckWhole("--tokens", s.tokens, 1, 1 << 22), CheckShare("--density", s.density)}) {
    if (!status.ok()) return status;
  }
  const double matrix = static_cast<double>(s.out) * s.in, activations = (2.0 * s.out + 2.0 * s.in) * s.tokens;
  return CheckMemory(4 * (2 * matrix + 2.5 * activations) + 16 * s.density * matrix);
}

void Forward(LinearData& d, kernels::ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) {
    kernels::Spmm(d.weights.rows.view(), d.x.tile(i), d.bias.data(), {d.y.data() + i * d.dy.stride(), d.dy.channels});
  });
}

void ForwardBf16(LinearData& d, kernels::ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) {
    const kernels::ConstBf16Tile x{d.x_bf16.data() + i * d.bf16_stride(), d.x.channels};
    kernels::Spmm(d.weights.rows.view(), x, d.bias.data(), {d.y.data() + i * d.dy.stride(), d.dy.channels});
  });
}

void InputGradient(LinearData& d, kernels::ThreadPool& pool) {
  pool.Run(d.x.tiles, [&](int64_t i, int) {
    kernels::Spmm(d.weights.columns.view(), d.dy.tile(i), nullptr, {d.dx.data() + i * d.x.stride(), d.x.channels});
  });
}

void ExactWeightGradient(LinearData& d, bool bf16, kernels::ThreadPool& pool) {
  kernels::SddmmInput input{.dy = d.dy.values.data(),
                            .dy_stride = d.dy.stride(),
                            .kept = d.dy.kept_of(0),
                            .kept_stride = static_cast<size_t>(d.dy.channels),
                            .x = d.x.values.data(),
                            .x_stride = d.x.stride(),
                            .tiles = d.x.tiles,
                            .out = d.dy.channels,
                            .in = d.x.channels};
  if (bf16) {
    input.x = nullptr;
    input.x_bf16 = d.x_bf16.data();
    input.x_bf16_stride = d.bf16_stride();
  }
  kernels::DenseWeightGradient(input, kernels::SddmmWrite::kOverwrite, d.dw.data(), pool, d.scratch);
}

// Every nonzero reads a row of the tile, every row of the result is written. Arithmetic is counted where neither side
// is known to be zero: of the exact weight gradient, what dY keeps.
std::vector<Case> Cases(const LinearSizes& s, int kept_out, LinearData& d, kernels::ThreadPool& pool) {
  const double row = kTileTokens * sizeof(float), tiles = d.x.tiles;
  const double nnz = static_cast<double>(d.weights.rows.nnz());
  const double tokens = tiles * kTileTokens;
  const DenseShape shape{.out = s.out, .in = s.in, .tokens = d.x.tiles * kTileTokens};
  const double touched = 4 * (tokens * s.in + tokens * s.out + static_cast<double>(s.out) * s.in);
  const double kept_share = static_cast<double>(kept_out) / s.out;
  const float* w = d.weights.dense.data();
  const float *x = d.x.values.data(), *dy = d.dy.values.data();
  return {
      {"forward", [&] { Forward(d, pool); }, 2 * nnz * tokens, tiles * row * (nnz + s.out), Level::kL2,
       "dense_forward"},
      {"dx", [&] { InputGradient(d, pool); }, 2 * nnz * tokens, tiles * row * (nnz + s.in), Level::kL2, "dense_dx"},
      {"dw_exact", [&] { ExactWeightGradient(d, false, pool); }, kept_share * shape.flops(), touched, Level::kMemory,
       "dense_dw"},
      {"forward_bf16", [&] { ForwardBf16(d, pool); }, 2 * nnz * tokens, tiles * row * (nnz / 2 + s.out), Level::kL2,
       "forward"},
      {"dw_exact_bf16", [&] { ExactWeightGradient(d, true, pool); }, kept_share * shape.flops(),
       touched - 2 * tokens * s.in, Level::kMemory, "dw_exact"},
      {"dense_forward", [=, &d, &pool] { DenseForward(shape, w, x, d.y.data(), pool); }, shape.flops(), touched},
      {"dense_dx", [=, &d, &pool] { DenseInputGradient(shape, w, dy, d.dx.data(), pool); }, shape.flops(), touched},
      {"dense_dw", [=, &d, &pool] { DenseWeightGradient(shape, dy, x, d.dw.data(), pool); }, shape.flops(), touched},
  };
}

}  // namespace

absl::StatusOr<Report> RunLinear(const LinearSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  if (absl::Status status = Check(sizes); !status.ok()) return status;
  const absl::StatusOr<int> kept_in = KeptChannels(sizes.afrac, sizes.in),
                            kept_out = KeptChannels(sizes.afrac, sizes.out);
  if (!kept_in.ok()) return kept_in.status();
  if (!kept_out.ok()) return kept_out.status();

  Bench bench(checked->threads);
  LinearData data(sizes, *kept_in, *kept_out, bench.pool);
  Report report{.bench = "linear", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"out", sizes.out},         {"in", sizes.in},       {"tokens", sizes.tokens},
                  {"density", sizes.density}, {"afrac", sizes.afrac}, {"nnz", data.weights.rows.nnz()}};
  report.results = Measure(Cases(sizes, *kept_out, data, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
