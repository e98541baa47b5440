#include "worker/bench/dense_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/bench/inputs.h"

namespace filigree::bench {
namespace {

// Sizes that no thread count divides, and fewer rows than threads.
const DenseShape kShapes[] = {
    {.out = 7, .in = 13, .tokens = 5}, {.out = 1, .in = 3, .tokens = 2}, {.out = 65, .in = 33, .tokens = 31}};

// |error| of a sum of n products of normals, in fp32: n roundings of terms of size about 1, and their partial sums.
double Bound(int n) { return 6e-8 * (n + 2) * std::sqrt(n) * 4; }

TEST(DenseGemmTest, ProductsAreTheThreeOfALinearLayer) {
  for (const DenseShape& s : kShapes) {
    for (const int threads : {1, 3}) {
      kernels::ThreadPool pool(threads);
      const kernels::Buffer<float> w = RandomNormals(static_cast<size_t>(s.out) * s.in, 1, pool);
      const kernels::Buffer<float> x = RandomNormals(static_cast<size_t>(s.tokens) * s.in, 2, pool);
      const kernels::Buffer<float> dy = RandomNormals(static_cast<size_t>(s.tokens) * s.out, 3, pool);
      std::vector<float> y(dy.size(), NAN), dx(x.size(), NAN), dw(w.size(), NAN);
      DenseForward(s, w.data(), x.data(), y.data(), pool);
      DenseInputGradient(s, w.data(), dy.data(), dx.data(), pool);
      DenseWeightGradient(s, dy.data(), x.data(), dw.data(), pool);
      for (int t = 0; t < s.tokens; ++t) {
        for (int o = 0; o < s.out; ++o) {
          double sum = 0;
          for (int i = 0; i < s.in; ++i) sum += static_cast<double>(x[t * s.in + i]) * w[o * s.in + i];
          EXPECT_NEAR(y[t * s.out + o], sum, Bound(s.in)) << "token " << t << " output " << o;
        }
        for (int i = 0; i < s.in; ++i) {
          double sum = 0;
          for (int o = 0; o < s.out; ++o) sum += static_cast<double>(dy[t * s.out + o]) * w[o * s.in + i];
          EXPECT_NEAR(dx[t * s.in + i], sum, Bound(s.out)) << "token " << t << " input " << i;
        }
      }
      for (int o = 0; o < s.out; ++o) {
        for (int i = 0; i < s.in; ++i) {
          double sum = 0;
          for (int t = 0; t < s.tokens; ++t) sum += static_cast<double>(dy[t * s.out + o]) * x[t * s.in + i];
          EXPECT_NEAR(dw[o * s.in + i], sum, Bound(s.tokens)) << "output " << o << " input " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace filigree::bench
