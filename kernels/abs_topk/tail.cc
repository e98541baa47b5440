#include "kernels/abs_topk/tail.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace filigree::kernels {
namespace {

// The magnitude that a fraction p of normal draws exceeds: erfc(a / sqrt 2) = p, by halving.
double Exceeded(double p) {
  double low = 0, high = 16;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.0)) > p ? low : high) = middle;
  }
  return high;
}

}  // namespace

const float* TailOctaves() {
  static const auto table = [] {
    std::array<float, kTailEntries + 1> octaves;
    for (int i = 0; i <= kTailEntries; ++i) {
      const double p = std::clamp(i + 0.0, 0.5, kTailEntries - 0.5) / kTailEntries;
      octaves[i] = static_cast<float>(std::log2(Exceeded(p)));
    }
    return octaves;
  }();
  return table.data();
}

}  // namespace filigree::kernels
