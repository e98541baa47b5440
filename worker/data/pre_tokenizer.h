#ifndef FILIGREE_WORKER_DATA_PRE_TOKENIZER_H_
#define FILIGREE_WORKER_DATA_PRE_TOKENIZER_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "worker/data/char_classes.h"

// Cuts text into pre-tokens, which merges never cross: the successive matches of kPreTokenPattern (PCRE2, UTF, UCP),
// which cover the text without gaps.

namespace filigree::data {

inline constexpr char kPreTokenPattern[] =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// A state machine for this one pattern: linear, no backtracking beyond the end of a run of spaces. Bytes that are not
// valid UTF-8 count as punctuation, one by one.
class PreTokenizer {
 public:
  PreTokenizer() : classes_(CharClasses::Get()) {}

  // End of the pre-token that begins at `begin` < text.size(); above `begin`.
  size_t Next(std::string_view text, size_t begin) const;

  // Calls visit(std::string_view) for every pre-token of `text`, in order.
  template <typename Visit>
  void ForEach(std::string_view text, Visit visit) const {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = Next(text, begin);
      visit(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  struct Char {
    CharClass type;
    size_t end;
  };
  Char At(std::string_view text, size_t at) const;
  size_t SkipRun(std::string_view text, size_t at, CharClass type) const;
  size_t EndOfNumber(std::string_view text, size_t first_end) const;
  size_t EndOfPunctuation(std::string_view text, size_t at) const;
  size_t EndOfSpaces(std::string_view text, size_t begin) const;

  const CharClasses& classes_;
};

namespace ref {

// The pattern itself, run by PCRE2. `text` must be valid UTF-8.
std::vector<std::string_view> PreTokens(std::string_view text);

}  // namespace ref

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_PRE_TOKENIZER_H_
