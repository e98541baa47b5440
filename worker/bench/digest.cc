#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "kernels/adam/adam.h"
#include "kernels/csr/pattern.h"
#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/exchange/state_digest.h"
#include "worker/mask/refresh.h"
#include "worker/model/registry.h"

namespace filigree::bench {
namespace {

using kernels::Buffer;
using kernels::ThreadPool;

// A matrix as a rank holds it: weights, two moments, a mask; on candidates or whole.
struct DigestData {
  DigestData(int64_t rows, int64_t cols, int64_t nnz, ThreadPool& pool)
      : weights(RandomNormals(static_cast<size_t>(rows * cols), 1, pool)),
        m(RandomNormals(static_cast<size_t>(rows * cols), 2, pool)),
        v(RandomNormals(static_cast<size_t>(rows * cols), 3, pool)),
        kept(static_cast<size_t>((nnz + 63) / 64)),
        square_sums(static_cast<size_t>(pool.threads())) {
    const kernels::Pattern none(static_cast<int>(rows), static_cast<int>(cols), 0);
    mask::RefreshInput input;
    input.pattern = none.view();
    input.candidates = nnz;
    pattern = mask::Refresh(input, pool).pattern;
    view = pattern.view();
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = 0x1111111111111111u << (i % 4);  // one in four
    if (nnz % 64 != 0) kept[kept.size() - 1] &= (uint64_t{1} << (nnz % 64)) - 1;
    info.rows = rows;
    info.cols = cols;
  }

  void Take(bool on_candidates, ThreadPool& pool) {
    exchange::DigestedTensor tensor;
    tensor.info = &info;
    tensor.weights = weights.data();
    tensor.first_moments = m.data();
    tensor.second_moments = v.data();
    if (on_candidates) {
      tensor.candidates = &view;
      tensor.kept = kept.data();
    }
    exchange::StateDigests({&tensor, 1}, pool);
  }

  // As many values, read in the same order: a sum of squares.
  void Read(int64_t n, ThreadPool& pool) {
    constexpr int64_t kBlock = 1 << 15;
    pool.Run((n + kBlock - 1) / kBlock, [&](int64_t block, int thread) {
      const int64_t begin = block * kBlock, size = std::min(kBlock, n - begin);
      for (const Buffer<float>* array : {&weights, &m, &v}) {
        square_sums[static_cast<size_t>(thread)] += kernels::SumOfSquares(array->data() + begin, size);
      }
    });
  }

  Buffer<float> weights, m, v;
  Buffer<uint64_t> kept;
  Buffer<double> square_sums;
  kernels::Pattern pattern;
  kernels::PatternView view;
  model::TensorInfo info;
};

std::vector<Case> Cases(DigestData& d, ThreadPool& pool) {
  const int64_t nnz = d.pattern.nnz(), numel = d.info.numel();
  const Level memory = Level::kMemory;
  return {
      {"candidates", [&d, &pool] { d.Take(true, pool); }, 0, (12 + 2 + 0.125) * static_cast<double>(nnz), memory,
       "read_candidates"},
      {"whole", [&d, &pool] { d.Take(false, pool); }, 0, 12 * static_cast<double>(numel), memory, "read_whole"},
      {"read_candidates", [&d, &pool, nnz] { d.Read(nnz, pool); }, 0, 12 * static_cast<double>(nnz), memory},
      {"read_whole", [&d, &pool, numel] { d.Read(numel, pool); }, 0, 12 * static_cast<double>(numel), memory},
  };
}

}  // namespace

absl::StatusOr<Report> RunDigest(const DigestSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  constexpr int kMost = 65536;  // of 16-bit indices
  for (const absl::Status& status :
       {CheckWhole("--rows", sizes.rows, 1, kMost), CheckWhole("--cols", sizes.cols, 1, kMost),
        CheckShare("--density", sizes.density)}) {
    if (!status.ok()) return status;
  }
  const int64_t numel = int64_t{sizes.rows} * sizes.cols;
  const auto nnz = static_cast<int64_t>(sizes.density * static_cast<double>(numel));
  if (nnz > UINT32_MAX) {
    return absl::InvalidArgumentError(
        fmt::format("bench: {} candidates are more than a matrix can have, {}; make --density smaller, or the matrix",
                    nnz, UINT32_MAX));
  }
  if (nnz == 0) {
    return absl::InvalidArgumentError(
        fmt::format("bench: --density {} leaves no candidate of {} x {}; make it larger, or the matrix", sizes.density,
                    sizes.rows, sizes.cols));
  }
  if (absl::Status status = CheckMemory(12.0 * static_cast<double>(numel) + 3.0 * static_cast<double>(nnz));
      !status.ok()) {
    return status;
  }

  Bench bench(checked->threads);
  DigestData data(sizes.rows, sizes.cols, nnz, bench.pool);
  Report report{.bench = "digest", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"rows", sizes.rows}, {"cols", sizes.cols}, {"density", sizes.density}, {"nnz", nnz}};
  report.results = Measure(Cases(data, bench.pool), checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
