#include "worker/bench/dense_gemm.h"

#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <functional>

#include "kernels/base/check.h"
#include "worker/bench/inputs.h"
#include "worker/machine/clock.h"

namespace filigree::bench {
namespace {

// part(begin, end) for an equal share of [0, n) on each thread, where oneDNN sees one thread only.
void Shared(int n, kernels::ThreadPool& pool, const std::function<dnnl_status_t(int begin, int end)>& part) {
  const int64_t threads = pool.threads();
  pool.Run(threads, [&](int64_t task, int) {
    omp_set_num_threads(1);
    const int begin = static_cast<int>(n * task / threads), end = static_cast<int>(n * (task + 1) / threads);
    if (begin < end) CHECK(part(begin, end) == dnnl_success, "oneDNN refuses a product of {} rows", end - begin);
  });
}

}  // namespace

void DenseForward(const DenseShape& s, const float* w, const float* x, float* y, kernels::ThreadPool& pool) {
  Shared(s.tokens, pool, [&](int begin, int end) {
    return dnnl_sgemm('N', 'T', end - begin, s.out, s.in, 1, x + static_cast<int64_t>(begin) * s.in, s.in, w, s.in, 0,
                      y + static_cast<int64_t>(begin) * s.out, s.out);
  });
}

void DenseInputGradient(const DenseShape& s, const float* w, const float* dy, float* dx, kernels::ThreadPool& pool) {
  Shared(s.tokens, pool, [&](int begin, int end) {
    return dnnl_sgemm('N', 'N', end - begin, s.in, s.out, 1, dy + static_cast<int64_t>(begin) * s.out, s.out, w, s.in,
                      0, dx + static_cast<int64_t>(begin) * s.in, s.in);
  });
}

void DenseWeightGradient(const DenseShape& s, const float* dy, const float* x, float* dw, kernels::ThreadPool& pool) {
  Shared(s.out, pool, [&](int begin, int end) {
    return dnnl_sgemm('T', 'N', end - begin, s.in, s.tokens, 1, dy + begin, s.out, x, s.in, 0,
                      dw + static_cast<int64_t>(begin) * s.in, s.in);
  });
}

double MeasureDenseGflops(int n, kernels::ThreadPool& pool) {
  const DenseShape shape{.out = n, .in = n, .tokens = n};
  const size_t numel = static_cast<size_t>(n) * n;
  const kernels::Buffer<float> w = RandomNormals(numel, 1, pool), x = RandomNormals(numel, 2, pool);
  kernels::Buffer<float> y(numel);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double start = machine::WallSeconds();
    DenseForward(shape, w.data(), x.data(), y.data(), pool);
    best = std::max(best, 1e-9 * shape.flops() / (machine::WallSeconds() - start));
  }
  return best;
}

}  // namespace filigree::bench
