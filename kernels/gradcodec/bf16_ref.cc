#include <bit>
#include <cmath>

#include "kernels/gradcodec/bf16.h"

namespace filigree::kernels::ref {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000, kLargestBf16 = 0x7f7f0000;

float Decoded(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

uint16_t Encoded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits & ~kMagnitude, magnitude = bits & kMagnitude;
  uint32_t rounded;
  if (magnitude > kInfinity) {
    rounded = 0x7fc00000;
  } else if (magnitude == kInfinity) {
    rounded = kInfinity;
  } else {
    // The upper half of the bits goes up by one where the lower half is above the middle, or on it and the upper half
    // odd. A carry into the exponent is right: the next number begins there.
    const uint32_t upper = magnitude >> 16, lower = magnitude & 0xffff;
    const bool up = lower > 0x8000 || (lower == 0x8000 && upper % 2 == 1);
    rounded = (upper + up) << 16;
    if (rounded == kInfinity) rounded = kLargestBf16;
  }
  return static_cast<uint16_t>((sign | rounded) >> 16);
}

}  // namespace

void EncodeBf16WithFeedback(int64_t n, const float* gradient, float* residual, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = gradient[i] + residual[i];
    out[i] = Encoded(value);
    residual[i] = std::isfinite(value) ? value - Decoded(out[i]) : 0.0f;
  }
}

void EncodeBf16(int64_t n, const float* x, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = Encoded(x[i]);
}

void DecodeBf16(int64_t n, const uint16_t* x, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = Decoded(x[i]);
}

void AddBf16(int64_t n, const uint16_t* x, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += Decoded(x[i]);
}

}  // namespace filigree::kernels::ref
