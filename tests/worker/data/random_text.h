#ifndef FILIGREE_TESTS_WORKER_DATA_RANDOM_TEXT_H_
#define FILIGREE_TESTS_WORKER_DATA_RANDOM_TEXT_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "worker/data/utf8.h"

namespace filigree::data {

// Characters at which the pre-token pattern decides, and neighbours of every class border: kinds of spaces and
// newlines, U+0085 and U+180E, letters and numbers of several scripts and widths, combining marks, unassigned and
// private code points, the last of each UTF-8 length.
inline const std::vector<uint32_t>& HostileCodePoints() {
  static const std::vector<uint32_t> points = {
      ' ',    ' ',    ' ',    '\t',   '\n',    '\n',    '\r',    '\v',    '\f',    '/',     'a',     'Z',     '_',
      '0',    '9',    '.',    '(',    ')',     ':',     '\'',    '"',     '#',     '=',     0x00,    0x1C,    0x1F,
      0x7F,   0x80,   0x85,   0xA0,   0xAA,    0xB2,    0xB5,    0xBC,    0xD7,    0xE9,    0x2C2,   0x300,   0x301,
      0x378,  0x3B1,  0x660,  0x7FF,  0x800,   0x9BF,   0xE01,   0x1680,  0x180E,  0x2000,  0x200A,  0x200B,  0x200D,
      0x2028, 0x2029, 0x202F, 0x205F, 0x2160,  0x2028,  0x3000,  0x3042,  0x4E2D,  0xAC00,  0xD7FF,  0xE000,  0xFB01,
      0xFE0F, 0xFEFF, 0xFFFD, 0xFFFF, 0x10000, 0x10107, 0x1D400, 0x1D7CE, 0x1F600, 0x1F1E6, 0x20000, 0xE0001, 0x10FFFF};
  return points;
}

// `length` code points: mostly hostile ones, some from all of Unicode.
inline std::string HostileText(std::mt19937_64& rng, int length) {
  std::string text;
  for (int i = 0; i < length; ++i) {
    uint32_t c = HostileCodePoints()[rng() % HostileCodePoints().size()];
    if (rng() % 8 == 0) c = static_cast<uint32_t>(rng() % 0x110000);
    if (c < 0xD800 || c >= 0xE000) AppendUtf8(c, text);
  }
  return text;
}

inline std::string RandomBytes(std::mt19937_64& rng, int length) {
  std::string bytes;
  for (int i = 0; i < length; ++i) bytes += static_cast<char>(rng() % 256);
  return bytes;
}

// Words of few letters, so that pairs overlap and repeat.
inline std::string RandomWord(std::mt19937_64& rng, int longest, int letters) {
  std::string word;
  for (uint64_t n = 1 + rng() % static_cast<uint64_t>(longest); n > 0; --n) {
    word += static_cast<char>('a' + rng() % static_cast<uint64_t>(letters));
  }
  return word;
}

// Something like Python: names, numbers, indents; `lines` of it.
inline std::string RandomCode(std::mt19937_64& rng, int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text += std::string(4 * (rng() % 3), ' ') + RandomWord(rng, 6, 8) + " = " + RandomWord(rng, 4, 8) + "(" +
            std::to_string(rng() % 1000) + ", " + RandomWord(rng, 5, 6) + ")" + (rng() % 5 == 0 ? "\n\n" : "\n");
  }
  return text;
}

}  // namespace filigree::data

#endif  // FILIGREE_TESTS_WORKER_DATA_RANDOM_TEXT_H_
