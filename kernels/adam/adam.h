#ifndef FILIGREE_KERNELS_ADAM_ADAM_H_
#define FILIGREE_KERNELS_ADAM_ADAM_H_

#include <cstdint>

// Adam on dense state, one range of elements, one pass.
//
//   g' = g * gradient_scale
//   m += (1 - beta1) (g' - m),         v += (1 - beta2) (g'^2 - v)
//   w -= lr * (m / bias1) / (sqrt(v / bias2) + eps)        bias1 = 1 - beta1^(s+1), bias2 = 1 - beta2^(s+1)
//
// Arithmetic     fp32 per element, in exactly this order, with fused multiply-adds m = fma(1 - beta1, g' - m, m),
//                v = fma(1 - beta2, fma(g', g', -v), v), division and square root correctly rounded:
//                the same bits in ref, AVX2 and AVX-512, and however a tensor is cut into ranges.
//                1 - beta is formed in double: rounding beta first would bend both averages by 2.4e-7, since 1 - 0.9f
//                is that far from 0.1.
// Also           w *= decay afterwards (1: unchanged), for tensors with weight decay and no mask.
// Cost           28 bytes of memory traffic an element.

namespace filigree::kernels {

struct AdamStep {
  float lr = 0;
  double beta1 = 0.9, beta2 = 0.95;
  float eps = 0.1f;
  float bias1 = 1, bias2 = 1;
  float gradient_scale = 1;
  float decay = 1;
};

void Adam(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w);

// Sum of g[i]^2 in double, in 16 logical lanes (i % 16) and a tree: the same bits everywhere. Callers cut tensors into
// fixed blocks and add the blocks' sums in order.
double SumOfSquares(const float* g, int64_t n);

// y[i] += x[i].
void AddInPlace(const float* x, int64_t n, float* y);

namespace ref {
void Adam(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w);
double SumOfSquares(const float* g, int64_t n);
void AddInPlace(const float* x, int64_t n, float* y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ADAM_ADAM_H_
