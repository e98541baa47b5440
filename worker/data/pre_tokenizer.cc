#include "worker/data/pre_tokenizer.h"

#include "worker/data/utf8.h"

namespace filigree::data {

PreTokenizer::Char PreTokenizer::At(std::string_view text, size_t at) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) [[likely]]
    return {classes_.OfAscii(byte), at + 1};
  const CodePoint c = DecodeUtf8(text, at);
  return {classes_.Of(c.value), at + static_cast<size_t>(c.bytes)};
}

size_t PreTokenizer::SkipRun(std::string_view text, size_t at, CharClass type) const {
  while (at < text.size()) {
    const Char c = At(text, at);
    if (c.type != type) break;
    at = c.end;
  }
  return at;
}

// \p{N}{1,3}
size_t PreTokenizer::EndOfNumber(std::string_view text, size_t first_end) const {
  size_t at = first_end;
  for (int more = 0; more < 2 && at < text.size(); ++more) {
    const Char c = At(text, at);
    if (c.type != CharClass::kNumber) break;
    at = c.end;
  }
  return at;
}

// [^\s\p{L}\p{N}]+[\r\n/]*, where the first character is known to be there
size_t PreTokenizer::EndOfPunctuation(std::string_view text, size_t at) const {
  at = SkipRun(text, at, CharClass::kOther);
  while (at < text.size() && (text[at] == '\r' || text[at] == '\n' || text[at] == '/')) ++at;
  return at;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last newline of the run; without one, all of the run if the text ends there,
// else all but its last character, which the next pre-token begins with; but never nothing.
size_t PreTokenizer::EndOfSpaces(std::string_view text, size_t begin) const {
  size_t at = begin, before_last = begin, after_newline = begin;
  while (at < text.size()) {
    const Char c = At(text, at);
    if (c.type != CharClass::kSpace && c.type != CharClass::kNewline) break;
    before_last = at;
    at = c.end;
    if (c.type == CharClass::kNewline) after_newline = at;
  }
  if (after_newline > begin) return after_newline;
  return at == text.size() || before_last == begin ? at : before_last;
}

size_t PreTokenizer::Next(std::string_view text, size_t begin) const {
  const Char first = At(text, begin);
  if (first.type == CharClass::kLetter) return SkipRun(text, first.end, CharClass::kLetter);
  if (first.type == CharClass::kNumber) return EndOfNumber(text, first.end);
  if (first.type == CharClass::kNewline) return EndOfSpaces(text, begin);
  if (first.end < text.size()) {
    const Char second = At(text, first.end);
    if (second.type == CharClass::kLetter) return SkipRun(text, second.end, CharClass::kLetter);
    if (text[begin] == ' ' && second.type == CharClass::kOther) return EndOfPunctuation(text, second.end);
  }
  return first.type == CharClass::kOther ? EndOfPunctuation(text, first.end) : EndOfSpaces(text, begin);
}

}  // namespace filigree::data
