#ifndef FILIGREE_TESTS_WORKER_MASK_CHI_SQUARE_H_
#define FILIGREE_TESTS_WORKER_MASK_CHI_SQUARE_H_

#include <cmath>
#include <cstdint>
#include <vector>

namespace filigree::mask {

// Sum of (observed - expected)^2 / expected over the cells that are expected at all; infinite if another one was seen.
inline double ChiSquare(const std::vector<int64_t>& observed, const std::vector<double>& probability) {
  double trials = 0, sum = 0;
  for (const int64_t n : observed) trials += static_cast<double>(n);
  for (size_t i = 0; i < observed.size(); ++i) {
    const double expected = trials * probability[i], seen = static_cast<double>(observed[i]);
    if (probability[i] > 0) {
      sum += (seen - expected) * (seen - expected) / expected;
    } else if (observed[i] > 0) {
      return HUGE_VAL;
    }
  }
  return sum;
}

// What chi-square with so many degrees of freedom exceeds once in a million (Wilson and Hilferty's approximation).
inline double ChiSquareBound(int degrees) {
  constexpr double kZ = 4.75;  // of the normal distribution, one-sided
  const double a = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1 - a + kZ * std::sqrt(a), 3);
}

}  // namespace filigree::mask

#endif  // FILIGREE_TESTS_WORKER_MASK_CHI_SQUARE_H_
