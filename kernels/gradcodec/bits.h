#ifndef FILIGREE_KERNELS_GRADCODEC_BITS_H_
#define FILIGREE_KERNELS_GRADCODEC_BITS_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

// Bits one behind the other in bytes, lowest bit first.

namespace filigree::kernels {

static_assert(std::endian::native == std::endian::little);

class BitWriter {
 public:
  explicit BitWriter(uint8_t* out) : out_(out) {}

  // The lower `count` bits of `bits`, the others of which are 0; count <= 32.
  void Put(uint64_t bits, int count) {
    pending_ |= bits << used_;
    used_ += count;
    if (used_ < 32) return;
    std::memcpy(out_, &pending_, 4);
    out_ += 4;
    pending_ >>= 32;
    used_ -= 32;
  }
  // `zeros` times 0, then 1.
  void PutUnary(uint64_t zeros) {
    for (; zeros >= 32; zeros -= 32) Put(0, 32);
    Put(uint64_t{1} << zeros, static_cast<int>(zeros) + 1);
  }
  // Writes the last bytes, the unused bits 0. Returns where they end.
  uint8_t* Finish() {
    for (; used_ > 0; used_ -= 8, pending_ >>= 8) *out_++ = static_cast<uint8_t>(pending_);
    return out_;
  }

 private:
  uint8_t* out_;
  uint64_t pending_ = 0;
  int used_ = 0;
};

// 64 bits of `bytes` from bit position `at`, of which at least 57 are valid; zeros beyond the end.
inline uint64_t BitsAt(std::span<const uint8_t> bytes, uint64_t at) {
  const uint64_t byte = at / 8;
  uint64_t word = 0;
  if (byte + 8 <= bytes.size()) [[likely]] {
    std::memcpy(&word, bytes.data() + byte, 8);
  } else if (byte < bytes.size()) {
    std::memcpy(&word, bytes.data() + byte, bytes.size() - byte);
  }
  return word >> (at % 8);
}

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GRADCODEC_BITS_H_
