#include "kernels/base/random.h"

#include <array>
#include <cmath>
#include <numbers>

namespace filigree::kernels {
namespace {

std::array<uint32_t, 4> Philox(uint64_t key, uint64_t index, uint64_t stream) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

constexpr double kTwoPow53 = 9007199254740992.0;
double ToUnit(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 32 | low) >> 11) / kTwoPow53;
}

}  // namespace

uint64_t CounterRng::Bits(uint64_t index) const {
  const auto c = Philox(seed_, index, stream_);
  return uint64_t{c[0]} << 32 | c[1];
}

double CounterRng::Uniform(uint64_t index) const {
  const auto c = Philox(seed_, index, stream_);
  return ToUnit(c[0], c[1]);
}

double CounterRng::Normal(uint64_t index) const {
  const auto c = Philox(seed_, index, stream_);
  const double radius = std::sqrt(-2.0 * std::log1p(-ToUnit(c[0], c[1])));
  return radius * std::cos(2.0 * std::numbers::pi * ToUnit(c[2], c[3]));
}

uint64_t CounterRng::Below(uint64_t index, uint64_t n) const { return ((Bits(index) >> 32) * n) >> 32; }

uint64_t StreamOf(const char* name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (; *name != '\0'; ++name) hash = (hash ^ static_cast<unsigned char>(*name)) * 0x100000001b3u;
  return hash;
}

}  // namespace filigree::kernels
