#include "worker/data/pattern_match.h"
#include "worker/data/pre_tokenizer.h"

namespace filigree::data::ref {

std::vector<std::string_view> PreTokens(std::string_view text) {
  std::vector<std::string_view> parts;
  ForEachMatch(kPreTokenPattern, text,
               [&](size_t begin, size_t end) { parts.push_back(text.substr(begin, end - begin)); });
  return parts;
}

}  // namespace filigree::data::ref
