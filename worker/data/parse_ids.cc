#include "worker/data/parse_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "worker/data/byte_alphabet.h"

namespace filigree::data {
namespace {

constexpr std::string_view kBetween = " \t\r\n,", kSpace = " \t\r\n";

// What a JSON array holds; the text itself where it is none. A bracket that is left shows as a word that is no id.
std::string_view WithoutBrackets(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace), last = text.find_last_not_of(kSpace);
  if (first == std::string_view::npos || text[first] != '[' || text[last] != ']' || first == last) return text;
  return text.substr(first + 1, last - first - 1);
}

}  // namespace

absl::StatusOr<std::vector<uint16_t>> ParseIds(std::string_view text, int vocab) {
  text = WithoutBrackets(text);
  std::vector<uint16_t> ids;
  for (size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    int64_t id = -1;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size() || id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\", word {} of the input, is not an id: expected a number from 0 to {}",
                      ToPrintable(word.substr(0, 40)), ids.size() + 1, vocab - 1));
    }
    ids.push_back(static_cast<uint16_t>(id));
    at = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

}  // namespace filigree::data
