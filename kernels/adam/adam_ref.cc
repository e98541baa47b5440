#include <array>
#include <cmath>

#include "kernels/adam/adam.h"

namespace filigree::kernels::ref {

void Adam(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w) {
  const float new1 = static_cast<float>(1 - step.beta1), new2 = static_cast<float>(1 - step.beta2);
  for (int64_t i = 0; i < n; ++i) {
    const float scaled = g[i] * step.gradient_scale;
    m[i] = std::fma(new1, scaled - m[i], m[i]);
    v[i] = std::fma(new2, std::fma(scaled, scaled, -v[i]), v[i]);
    const float update = step.lr * (m[i] / step.bias1) / (std::sqrt(v[i] / step.bias2) + step.eps);
    w[i] = (w[i] - update) * step.decay;
  }
}

double SumOfSquares(const float* g, int64_t n) {
  std::array<double, 16> lane = {};
  for (int64_t i = 0; i < n; ++i) lane[i % 16] += static_cast<double>(g[i]) * g[i];
  for (int distance = 8; distance >= 1; distance /= 2) {
    for (int i = 0; i < distance; ++i) lane[i] += lane[i + distance];
  }
  return lane[0];
}

void AddInPlace(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace filigree::kernels::ref
