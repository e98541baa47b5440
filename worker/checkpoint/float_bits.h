#ifndef FILIGREE_WORKER_CHECKPOINT_FLOAT_BITS_H_
#define FILIGREE_WORKER_CHECKPOINT_FLOAT_BITS_H_

#include <bit>
#include <cstdint>

// 16-bit floats of foreign files as float32. Both conversions are exact; payloads of NaNs stay.

namespace filigree::checkpoint {

inline float FloatFromBfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// IEEE binary16: sign, 5 bits of exponent (bias 15), 10 of fraction.
inline float FloatFromHalf(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits >> 15) << 31;
  const uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  // Subnormal: fraction * 2^-24, exact in float32.
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_FLOAT_BITS_H_
