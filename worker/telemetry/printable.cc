#include <fmt/format.h>

#include <cstdint>

#include "worker/telemetry/display.h"

// Text of a model or of a command line, made safe for a terminal.

namespace filigree::telemetry {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

struct Decoded {
  uint32_t rune = 0;
  size_t length = 0;  // 0: no well-formed sequence here
};

// The UTF-8 sequence at `at`: no overlong forms, no surrogates, nothing above U+10FFFF.
Decoded Decode(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + length > text.size()) return {};
  uint32_t rune = first & (0xffU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    rune = rune << 6 | (byte(i) & 0x3fU);
  }
  const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  if (rune < least || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff)) return {};
  return {rune, length};
}

// C0, DEL and C1: some terminals obey the latter too.
bool IsControl(uint32_t rune) { return rune < 0x20 || (rune >= 0x7f && rune < 0xa0); }

// `text` with `other(bytes)` in the place of what a terminal is not to see.
template <typename Other>
std::string Cleaned(const std::string& text, Other other) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Decoded next = Decode(text, i);
    const bool kept = next.length > 0 && (!IsControl(next.rune) || text[i] == '\n' || text[i] == '\t');
    const size_t length = next.length > 0 ? next.length : 1;
    out += kept ? text.substr(i, length) : other(text.substr(i, length));
    i += length;
  }
  return out;
}

}  // namespace

std::string Printable(const std::string& text) {
  return Cleaned(text, [](const std::string&) { return std::string(kReplacement); });
}

std::string Escaped(const std::string& text) {
  return Cleaned(text, [](const std::string& bytes) {
    std::string shown;
    for (const char c : bytes) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    return shown;
  });
}

}  // namespace filigree::telemetry
