#include "worker/interop/crc32.h"

#include <array>
#include <cstring>

namespace filigree::interop {
namespace {

using Table = std::array<uint32_t, 256>;

// tables[k][b]: the remainder of byte b with k zero bytes after it, so that eight bytes are taken at a time.
constexpr std::array<Table, 8> MakeTables() {
  std::array<Table, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t r = b;
    for (int bit = 0; bit < 8; ++bit) r = (r >> 1) ^ (r & 1 ? 0xedb88320u : 0u);
    tables[0][b] = r;
  }
  for (uint32_t b = 0; b < 256; ++b) {
    for (int k = 1; k < 8; ++k) tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 255];
  }
  return tables;
}
constexpr std::array<Table, 8> kTables = MakeTables();

}  // namespace

uint32_t Crc32(uint32_t before, std::span<const uint8_t> bytes) {
  uint32_t crc = ~before;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t x;
    std::memcpy(&x, bytes.data() + i, sizeof(x));
    x ^= crc;
    crc = 0;
    for (int k = 0; k < 8; ++k) crc ^= kTables[7 - k][x >> (8 * k) & 255];
  }
  for (; i < bytes.size(); ++i) crc = (crc >> 8) ^ kTables[0][(crc ^ bytes[i]) & 255];
  return ~crc;
}

}  // namespace filigree::interop
