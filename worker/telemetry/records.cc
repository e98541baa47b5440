#include "worker/telemetry/records.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace filigree::telemetry {

int MagnitudeBin(float w) {
  // Exponent and the first bit of the fraction name the half octave.
  const uint32_t half_octave = (std::bit_cast<uint32_t>(w) & 0x7fffffffU) >> 22;
  const int lowest = 2 * (kMagnitudeLowExponent + 127);
  return std::clamp(static_cast<int>(half_octave) - lowest + 1, 0, kMagnitudeBins - 1);
}

double MagnitudeBinEdge(int bin) {
  if (bin <= 0) return 0;
  const int half_octave = std::min(bin, kMagnitudeBins - 1) - 1;
  return std::ldexp(half_octave % 2 == 0 ? 1.0 : 1.5, kMagnitudeLowExponent + half_octave / 2);
}

}  // namespace filigree::telemetry
