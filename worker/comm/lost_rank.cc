#include "worker/comm/lost_rank.h"

#include <fmt/format.h>

#include <set>

namespace filigree::comm {
namespace {

std::string Named(const Transport& transport, int rank) {
  return fmt::format("rank {} on {}", rank, transport.host(rank));
}

}  // namespace

absl::Status LeftStatus(const Transport& transport, int rank, const absl::Status& why) {
  return absl::Status(why.code(), fmt::format("{}: {}", Named(transport, rank), std::string(why.message())));
}

absl::Status GoneStatus(const Transport& transport, int rank, const std::string& how) {
  return absl::UnavailableError(fmt::format("{} is gone{}{}", Named(transport, rank), how.empty() ? "" : ": ", how));
}

absl::Status LateStatus(const Transport& transport, const std::vector<int>& ranks) {
  std::string names;
  for (int rank : std::set<int>(ranks.begin(), ranks.end())) {
    names += names.empty() ? "" : " and ";
    names += Named(transport, rank);
  }
  return absl::DeadlineExceededError(fmt::format("{} did not answer in time", names));
}

}  // namespace filigree::comm
