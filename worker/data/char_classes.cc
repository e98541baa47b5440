#include "worker/data/char_classes.h"

#include <cstddef>
#include <map>
#include <string>

#include "worker/data/pattern_match.h"
#include "worker/data/utf8.h"

namespace filigree::data {
namespace {

constexpr uint32_t kSurrogates = 0xD800, kAfterSurrogates = 0xE000;

// Every code point that UTF-8 can hold, in order.
std::string AllCodePoints(uint32_t last) {
  std::string text;
  for (uint32_t c = 0; c <= last; ++c) {
    if (c < kSurrogates || c >= kAfterSurrogates) AppendUtf8(c, text);
  }
  return text;
}

void Mark(const std::string& text, const std::string& pattern, CharClass mark, std::vector<CharClass>& classes) {
  ForEachMatch(pattern, text, [&](size_t begin, size_t end) {
    for (size_t at = begin; at < end;) {
      const CodePoint c = DecodeUtf8(text, at);
      classes[c.value] = mark;
      at += static_cast<size_t>(c.bytes);
    }
  });
}

}  // namespace

CharClasses::CharClasses() {
  std::vector<CharClass> classes(kLast + 1, CharClass::kOther);
  const std::string text = AllCodePoints(kLast);
  Mark(text, R"(\p{L}+)", CharClass::kLetter, classes);
  Mark(text, R"(\p{N}+)", CharClass::kNumber, classes);
  Mark(text, R"(\s+)", CharClass::kSpace, classes);
  classes['\r'] = classes['\n'] = CharClass::kNewline;

  std::map<std::vector<CharClass>, uint16_t> known;
  for (uint32_t page = 0; page < page_of_.size(); ++page) {
    const auto begin = classes.begin() + page * 256;
    const auto [entry, is_new] = known.try_emplace({begin, begin + 256}, static_cast<uint16_t>(known.size()));
    if (is_new) pages_.insert(pages_.end(), begin, begin + 256);
    page_of_[page] = entry->second;
  }
}

const CharClasses& CharClasses::Get() {
  static const CharClasses classes;
  return classes;
}

}  // namespace filigree::data
