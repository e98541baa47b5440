#ifndef FILIGREE_TESTS_SUPPORT_FINGERPRINT_H_
#define FILIGREE_TESTS_SUPPORT_FINGERPRINT_H_

#include <cstdint>
#include <cstring>
#include <span>

// A number for the bits that a kernel puts out. On a machine without AVX-512 a test that compares both targets compares
// AVX2 with itself; what holds a kernel without a reference of the same bits to its promise there is a number that was
// recorded once, and that every target on every machine has to come to. Whoever changes a kernel's arithmetic on
// purpose records it anew, and says so.

namespace filigree::testing_support {

// FNV-1a over the bytes of values, joined to what came before.
inline uint64_t Fingerprint(std::span<const float> values, uint64_t before = 0xcbf29ce484222325) {
  for (const float value : values) {
    unsigned char bytes[sizeof(value)];
    std::memcpy(bytes, &value, sizeof(value));
    for (const unsigned char byte : bytes) before = (before ^ byte) * 0x100000001b3;
  }
  return before;
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_FINGERPRINT_H_
