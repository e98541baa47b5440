#include "tests/fuzz/mutator.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace filigree::fuzz {
namespace {

// Little-endian words of 1 to 8 bytes: ends of ranges and their neighbours.
constexpr uint64_t kWords[] = {
    0,          1,          0x7f,       0x80,       0xff,       0x7fff, 0xffff,      0x7fffffff,
    0x80000000, 0xffffffff, 1ull << 53, 1ull << 62, 1ull << 63, ~0ull,  ~0ull >> 1u, 0xfffffffffffffff8ull};

const char* const kTexts[] = {"null", "true",    "{}", "[]", "\"\"", "-1",       "1e999",        "9223372036854775808",
                              "\xff", "\\u0000", "\n", "\"", "'",    "#",        "= ",           "0x7fffffffffffffff",
                              "1/0",  "nan",     ",",  ":",  "..",   "\xc3\x28", "\xed\xa0\x80", "a.b.c"};

}  // namespace

std::string Mutator::Next() {
  std::string input = seeds_[Below(seeds_.size())];
  for (size_t changes = 1 + Below(6); changes > 0; --changes) Change(input);
  input.resize(std::min(input.size(), kMostBytes));
  return input;
}

void Mutator::Change(std::string& input) {
  using Change = void (Mutator::*)(std::string&);
  constexpr Change kChanges[] = {&Mutator::FlipBit, &Mutator::SetBytes,   &Mutator::CutOut,       &Mutator::Repeat,
                                 &Mutator::Splice,  &Mutator::InsertWord, &Mutator::ChangeNumber, &Mutator::Nest,
                                 &Mutator::FlipBit, &Mutator::SetBytes,   &Mutator::ChangeNumber};
  (this->*kChanges[Below(std::size(kChanges))])(input);
}

void Mutator::FlipBit(std::string& input) {
  if (input.empty()) return;
  char& byte = input[Below(input.size())];
  byte = static_cast<char>(byte ^ (1 << Below(8)));
}

void Mutator::SetBytes(std::string& input) {
  const size_t n = size_t{1} << Below(4);
  if (input.size() < n) return;
  const size_t at = Below(input.size() - n + 1);
  const uint64_t word = Below(4) == 0 ? dice_() : kWords[Below(std::size(kWords))];
  const bool big_endian = Below(4) == 0;
  for (size_t i = 0; i < n; ++i) input[at + (big_endian ? n - 1 - i : i)] = static_cast<char>(word >> 8 * i);
}

void Mutator::CutOut(std::string& input) {
  const size_t at = Below(input.size());
  const size_t most = Below(3) == 0 ? input.size() : 16;
  input.erase(at, Below(most) + 1);
}

void Mutator::Repeat(std::string& input) {
  if (input.empty()) return;
  const size_t at = Below(input.size());
  const std::string piece = input.substr(at, Below(64) + 1);
  for (size_t times = Below(8) == 0 ? Below(2000) : Below(4); times > 0 && input.size() < kMostBytes; --times)
    input.insert(at, piece);
}

void Mutator::Splice(std::string& input) {
  const std::string& other = seeds_[Below(seeds_.size())];
  const size_t from = Below(other.size());
  input.replace(Below(input.size()), Below(32), other, from, Below(200));
}

void Mutator::InsertWord(std::string& input) {
  input.insert(Below(input.size() + 1), kTexts[Below(std::size(kTexts))]);
}

void Mutator::ChangeNumber(std::string& input) {
  const size_t begin = input.find_first_of("0123456789", Below(input.size()));
  if (begin == std::string::npos) return;
  const size_t end = std::min(input.find_first_not_of("0123456789", begin), input.size());
  std::string number;
  if (end - begin < 10 && Below(2) == 0) {  // a neighbour, so that what belongs together no longer fits
    number = std::to_string(std::stoll(input.substr(begin, end - begin)) + static_cast<int64_t>(Below(33)) - 16);
  } else {
    number = fmt::format("{}{}", Below(4) == 0 ? "-" : "", kWords[Below(std::size(kWords))]);
  }
  input.replace(begin, end - begin, number);
}

void Mutator::Nest(std::string& input) {
  constexpr const char* kPairs[] = {"[]", "{}", "()", "\"\""};
  const char* pair = kPairs[Below(std::size(kPairs))];
  const size_t depth = Below(6) == 0 ? 1 + Below(20000) : 1 + Below(4);
  const size_t at = Below(input.size() + 1), end = at + Below(input.size() - at + 1);
  input.insert(end, depth, pair[1]);
  input.insert(at, depth, pair[0]);
}

}  // namespace filigree::fuzz
