#ifndef FILIGREE_TESTS_SUPPORT_ULPS_H_
#define FILIGREE_TESTS_SUPPORT_ULPS_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace filigree::testing_support {

// The distance of a float from the truth, in units of the last place of floats of that size. A correct rounding is
// within 0.5. For truths that are normal floats.
inline double UlpsOff(float value, double truth) {
  int exponent;
  std::frexp(truth, &exponent);
  return std::abs(value - truth) / std::ldexp(1.0, exponent - 24);
}

// Floats from 0 to `last` that differ in their bits by a constant step, so that all sizes occur.
inline std::vector<float> FloatsUpTo(float last, uint32_t step) {
  std::vector<float> out;
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += step) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    if (value > last) break;
    out.push_back(value);
  }
  return out;
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_ULPS_H_
