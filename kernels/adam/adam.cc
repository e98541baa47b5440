#include "kernels/adam/adam.h"

namespace filigree::kernels {

void Adam(const AdamStep& step, int64_t n, const float* g, float* m, float* v, float* w) {
  ref::Adam(step, n, g, m, v, w);
}

double SumOfSquares(const float* g, int64_t n) { return ref::SumOfSquares(g, n); }

void AddInPlace(const float* x, int64_t n, float* y) { ref::AddInPlace(x, n, y); }

}  // namespace filigree::kernels
