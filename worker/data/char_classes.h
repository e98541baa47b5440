#ifndef FILIGREE_WORKER_DATA_CHAR_CLASSES_H_
#define FILIGREE_WORKER_DATA_CHAR_CLASSES_H_

#include <array>
#include <cstdint>
#include <vector>

// What the pre-token pattern asks of a code point. The classes are those of PCRE2 with UTF and UCP: \p{L}, \p{N}, \s;
// so the Unicode version is PCRE2's (14 in Debian 12), and U+0085 and U+180E are spaces.

namespace filigree::data {

enum class CharClass : uint8_t {
  kOther,    // [^\s\p{L}\p{N}], and bytes that are not UTF-8
  kLetter,   // \p{L}
  kNumber,   // \p{N}
  kSpace,    // \s but [\r\n]
  kNewline,  // [\r\n]
};

// Two-stage table: the upper bits of a code point choose a page of 256 classes; equal pages are stored once.
class CharClasses {
 public:
  // Built by PCRE2 at the first call, some milliseconds; thread-safe.
  static const CharClasses& Get();

  // Anything above U+10FFFF is kOther.
  CharClass Of(uint32_t code_point) const {
    if (code_point > kLast) return CharClass::kOther;
    return pages_[page_of_[code_point >> 8] << 8 | (code_point & 0xFF)];
  }
  // Of ASCII: the same as Of.
  CharClass OfAscii(unsigned char byte) const { return pages_[byte]; }

 private:
  static constexpr uint32_t kLast = 0x10FFFF;

  CharClasses();

  std::array<uint16_t, (kLast >> 8) + 1> page_of_{};
  std::vector<CharClass> pages_;  // page 0 is U+0000 to U+00FF
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_CHAR_CLASSES_H_
