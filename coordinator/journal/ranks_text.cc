#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "coordinator/journal/records.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr std::string_view kBetween = ", ";

// The positive number that is all of `text`; 0: it is none.
int64_t Positive(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool canonical = !text.empty() && text[0] >= '1' && text[0] <= '9';
  return error == std::errc() && end == text.data() + text.size() && canonical ? number : 0;
}

// "a/3 x8"; false: it is no run of ranks.
bool TakeRun(std::string_view text, RankPlace& place, int64_t& count) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  std::string_view incarnation = text.substr(slash + 1);
  count = 1;
  if (const size_t times = incarnation.find(" x"); times != std::string_view::npos) {
    count = Positive(incarnation.substr(times + 2));
    if (count < 2) return false;
    incarnation = incarnation.substr(0, times);
  }
  place = {std::string(text.substr(0, slash)), Positive(incarnation)};
  return contract::IsId(place.worker) && place.incarnation > 0;
}

}  // namespace

std::string TextOfRanks(const std::vector<RankPlace>& ranks) {
  std::string text;
  for (size_t at = 0; at < ranks.size();) {
    size_t end = at + 1;
    while (end < ranks.size() && ranks[end] == ranks[at]) ++end;
    if (at > 0) text += kBetween;
    text += fmt::format("{}/{}", ranks[at].worker, ranks[at].incarnation);
    if (end - at > 1) text += fmt::format(" x{}", end - at);
    at = end;
  }
  return text;
}

absl::StatusOr<std::vector<RankPlace>> RanksOf(const std::string& text) {
  std::vector<RankPlace> ranks;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = rest.find(kBetween);
    const std::string_view run = rest.substr(0, end);
    RankPlace place;
    int64_t count = 0;
    if (!TakeRun(run, place, count) || (!ranks.empty() && ranks.back() == place))
      return absl::DataLossError(fmt::format("ranks: {} is not \"worker/incarnation xcount\"", contract::Shown(run)));
    if (count > contract::kMaxRanks - static_cast<int64_t>(ranks.size()))
      return absl::DataLossError(fmt::format("ranks: more than {}", contract::kMaxRanks));
    ranks.insert(ranks.end(), static_cast<size_t>(count), place);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + kBetween.size());
    if (rest.empty() && end != std::string_view::npos) return absl::DataLossError("ranks: ends in a comma");
  }
  return ranks;
}

}  // namespace filigree::coordinator
