#include <bit>
#include <cmath>

#include "kernels/bf16_tile/bf16_tile.h"

namespace filigree::kernels::ref {
namespace {

// The bits of the bf16 nearest to x, in the upper half.
uint32_t Rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return (bits & 0x80000000u) | 0x7fc00000u;
  const uint32_t upper = bits >> 16, lower = bits & 0xffff;
  // A carry into the exponent is right: the next number begins there, and after the largest one infinity.
  const bool up = lower > 0x8000 || (lower == 0x8000 && upper % 2 == 1);
  return (upper + up) << 16;
}

}  // namespace

void RoundToBf16(Tile x, Bf16Tile kept) {
  for (int c = 0; c < x.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) x.at(c, t) = std::bit_cast<float>(Rounded(x.at(c, t)));
    for (int i = 0; kept.data != nullptr && i < kBf16RowWords; ++i) {
      const int t = i / 16 * 32 + i % 16;
      const auto low = std::bit_cast<uint32_t>(x.at(c, t)), high = std::bit_cast<uint32_t>(x.at(c, t + 16));
      kept.row(c)[i] = low >> 16 | high;
    }
  }
}

void WidenBf16(ConstBf16Tile kept, Tile y) {
  for (int c = 0; c < y.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) y.at(c, t) = kept.at(c, t);
  }
}

}  // namespace filigree::kernels::ref
