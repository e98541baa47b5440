#ifndef FILIGREE_TESTS_SUPPORT_GRADIENT_CHECK_H_
#define FILIGREE_TESTS_SUPPORT_GRADIENT_CHECK_H_

#include <cmath>
#include <cstddef>
#include <vector>

namespace filigree::testing_support {

// The derivative of loss() by x, an entry that loss() reads: a central difference of fourth order, whose error is h^4
// times a fifth derivative plus 1e-16 / h times the loss.
template <typename Loss>
double NumericDerivative(double& x, Loss loss, double h = 1e-3) {
  const double at = x;
  const auto moved = [&](double by) {
    x = at + by;
    return loss();
  };
  const double derivative = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
  x = at;
  return derivative;
}

// ||numeric - gradient|| / ||numeric|| over all of x.
template <typename Loss>
double GradientError(std::vector<double>& x, const std::vector<double>& gradient, Loss loss) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double numeric = NumericDerivative(x[i], loss);
    difference += (numeric - gradient[i]) * (numeric - gradient[i]);
    norm += numeric * numeric;
  }
  return std::sqrt(difference / norm);
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_GRADIENT_CHECK_H_
