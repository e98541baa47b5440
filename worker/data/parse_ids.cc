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

constexpr std::string_view kBetween = " \t\r\n,[]";

}  // namespace

absl::StatusOr<std::vector<uint16_t>> ParseIds(std::string_view text, int vocab) {
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
