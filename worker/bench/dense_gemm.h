#ifndef FILIGREE_WORKER_BENCH_DENSE_GEMM_H_
#define FILIGREE_WORKER_BENCH_DENSE_GEMM_H_

#include "kernels/base/thread_pool.h"

// The dense products of a linear layer by oneDNN, in the layout it likes best: row-major, a token a row. Each thread of
// the pool computes an equal share of the result on its own, so nothing is lost in between.
//
//   forward   y[t, o]  = sum_i x[t, i] w[o, i]
//   dx        dx[t, i] = sum_o dy[t, o] w[o, i]
//   dw        dw[o, i] = sum_t dy[t, o] x[t, i]

namespace filigree::bench {

struct DenseShape {
  int out = 0, in = 0, tokens = 0;

  double flops() const { return 2.0 * out * in * tokens; }
};

void DenseForward(const DenseShape& shape, const float* w, const float* x, float* y, kernels::ThreadPool& pool);
void DenseInputGradient(const DenseShape& shape, const float* w, const float* dy, float* dx, kernels::ThreadPool& pool);
void DenseWeightGradient(const DenseShape& shape, const float* dy, const float* x, float* dw,
                         kernels::ThreadPool& pool);

// GFLOP/s of a square product of n x n matrices on all threads of the pool, the best of a few.
double MeasureDenseGflops(int n, kernels::ThreadPool& pool);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_DENSE_GEMM_H_
