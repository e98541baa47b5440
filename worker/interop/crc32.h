#ifndef FILIGREE_WORKER_INTEROP_CRC32_H_
#define FILIGREE_WORKER_INTEROP_CRC32_H_

#include <cstdint>
#include <span>

namespace filigree::interop {

// The CRC-32 of zip files (reflected polynomial 0xedb88320, inverted at both ends). `before` is the value over the
// bytes that come before, 0 at the start. About 2 GB/s.
uint32_t Crc32(uint32_t before, std::span<const uint8_t> bytes);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_CRC32_H_
