#include "kernels/adam/adam.h"

#include <algorithm>
#include <cstring>

#include "worker/bench/bench.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"

namespace filigree::bench {
namespace {

constexpr int64_t kBlock = 1 << 16;

struct AdamData {
  AdamData(int64_t n, kernels::ThreadPool& pool)
      : g(RandomNormals(n, 1, pool)), w(RandomNormals(n, 2, pool)), m(n), v(n) {}

  kernels::Buffer<float> g, w, m, v;
};

kernels::AdamStep Step() {
  kernels::AdamStep step;
  step.lr = 1e-3f;
  step.bias1 = 0.5f;
  step.bias2 = 0.3f;
  return step;
}

using AdamKernel = void (*)(const kernels::AdamStep&, int64_t, const float*, float*, float*, float*);

void RunBlocks(AdamKernel kernel, AdamData& d, int64_t n, kernels::ThreadPool& pool) {
  pool.Run((n + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t begin = block * kBlock, count = std::min(kBlock, n - begin);
    kernel(Step(), count, d.g.data() + begin, d.m.data() + begin, d.v.data() + begin, d.w.data() + begin);
  });
}

// As many bytes as Adam moves, by memcpy: 14 read and 14 written an element.
void Copy(AdamData& d, int64_t n, kernels::ThreadPool& pool) {
  pool.Run((n + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t begin = block * kBlock, count = std::min(kBlock, n - begin);
    const size_t bytes = count * sizeof(float);
    std::memcpy(d.m.data() + begin, d.g.data() + begin, bytes);
    std::memcpy(d.v.data() + begin, d.w.data() + begin, bytes);
    std::memcpy(d.g.data() + begin, d.m.data() + begin, bytes);
    std::memcpy(d.w.data() + begin, d.v.data() + begin, bytes / 2);
  });
}

}  // namespace

absl::StatusOr<Report> RunAdam(const AdamSizes& sizes, const Common& common) {
  absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  const int64_t n = sizes.elements;
  if (absl::Status status = CheckWhole("--elements", n, 1, int64_t{1} << 40); !status.ok()) return status;
  if (absl::Status status = CheckMemory(16.0 * static_cast<double>(n)); !status.ok()) return status;

  Bench bench(checked->threads);
  AdamData data(n, bench.pool);
  const double bytes = 28 * static_cast<double>(n), flops = 14 * static_cast<double>(n);
  const std::vector<Case> cases = {
      {"adam", [&] { RunBlocks(kernels::Adam, data, n, bench.pool); }, flops, bytes, Level::kMemoryBothWays, "copy"},
      {"loops", [&] { RunBlocks(kernels::ref::Adam, data, n, bench.pool); }, flops, bytes, Level::kMemoryBothWays,
       "copy"},
      {"copy", [&] { Copy(data, n, bench.pool); }, 0, bytes, Level::kMemoryBothWays},
  };
  Report report{.bench = "adam", .machine = bench.machine, .repeats = checked->repeats};
  report.sizes = {{"elements", n}};
  report.results = Measure(cases, checked->repeats, bench.machine);
  return report;
}

}  // namespace filigree::bench
