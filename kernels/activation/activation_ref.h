#ifndef FILIGREE_KERNELS_ACTIVATION_ACTIVATION_REF_H_
#define FILIGREE_KERNELS_ACTIVATION_ACTIVATION_REF_H_

#include <cmath>
#include <numbers>

// The functions of activation.h in double, one value at a time: what the kernels are measured against and what tests
// differentiate numerically.

namespace filigree::kernels::ref {

// Phi(x), the normal distribution. By erfc, so that small values far to the left keep all their digits.
inline double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

inline double NormalDensity(double x) {
  return std::exp(-0.5 * x * x) * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
}

// x Phi(x), continued by its limits: infinity keeps its sign or becomes -0, NaN stays NaN.
inline double Gelu(double x) { return std::isinf(x) && x < 0 ? -0.0 : x * NormalCdf(x); }

inline double GeluDerivative(double x) {
  return std::isinf(x) ? (x > 0 ? 1.0 : 0.0) : NormalCdf(x) + x * NormalDensity(x);
}

inline double Relu(double x) { return x <= 0 ? 0.0 : x; }

inline double ReluDerivative(double x) { return x > 0 ? 1.0 : 0.0; }

}  // namespace filigree::kernels::ref

#endif  // FILIGREE_KERNELS_ACTIVATION_ACTIVATION_REF_H_
