#ifndef FILIGREE_WORKER_DATA_UTF8_H_
#define FILIGREE_WORKER_DATA_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace filigree::data {

struct CodePoint {
  uint32_t value;  // kInvalid where the first byte begins no valid sequence
  int bytes;       // 1 to 4; 1 where invalid

  static constexpr uint32_t kInvalid = 0xFFFFFFFF;
};

// The code point at the start of text[at...], at < text.size(). Overlong forms, surrogates, values above U+10FFFF and
// sequences cut short by the end are invalid (RFC 3629).
CodePoint DecodeUtf8(std::string_view text, size_t at);

// Offset of the first byte that is not part of valid UTF-8, or std::string_view::npos.
size_t FindInvalidUtf8(std::string_view text);

void AppendUtf8(uint32_t code_point, std::string& out);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_UTF8_H_
