#include "worker/config/text.h"

#include <fmt/format.h>

namespace filigree::config {

size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned b0 = byte(0), b1 = byte(1);
  if (b0 < 0x80) return 1;
  if (b0 >= 0xc2 && b0 <= 0xdf && follows(1)) return 2;
  if (b0 >= 0xe0 && b0 <= 0xef && follows(1) && follows(2))
    return (b0 == 0xe0 && b1 < 0xa0) || (b0 == 0xed && b1 >= 0xa0) ? 0 : 3;
  if (b0 >= 0xf0 && b0 <= 0xf4 && follows(1) && follows(2) && follows(3))
    return (b0 == 0xf0 && b1 < 0x90) || (b0 == 0xf4 && b1 >= 0x90) ? 0 : 4;
  return 0;
}

std::string QuotedToml(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\u{:04x}", byte);
    else
      out += c;
  }
  return out + "\"";
}

}  // namespace filigree::config
