#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "worker/comm/gloo/connect.h"
#include "worker/comm/gloo_module.h"
#include "worker/comm/host_name.h"

// filigree_gloo.so: what is linked to Gloo.

namespace filigree::comm {
namespace {

using Clock = std::chrono::steady_clock;

// The cards of a rank for all others are one value in the store, each behind its length.
std::string Joined(const std::vector<std::string>& cards) {
  std::string text;
  for (const std::string& card : cards) text += fmt::format("{:03}{}", card.size(), card);
  return text;
}

// The card for `rank` in it; empty where there is none.
std::string CardFor(int rank, const std::string& joined) {
  size_t at = 0;
  for (int r = 0;; ++r) {
    if (joined.size() - at < 3) return {};
    size_t bytes = 0;
    for (int i = 0; i < 3; ++i) {
      const char digit = joined[at++];
      if (digit < '0' || digit > '9') return {};
      bytes = 10 * bytes + static_cast<size_t>(digit - '0');
    }
    if (bytes > joined.size() - at) return {};
    if (r == rank) return joined.substr(at, bytes);
    at += bytes;
  }
}

std::string Key(const GlooOptions& options, int rank) { return fmt::format("gloo/{}/{}", options.generation, rank); }

absl::StatusOr<std::vector<std::string>> SwapThroughStore(const GlooOptions& options, KeyValueStore& store,
                                                          Clock::time_point deadline,
                                                          const std::vector<std::string>& mine) {
  if (absl::Status status = store.Set(Key(options, options.rank), Joined(mine)); !status.ok()) {
    if (!absl::IsAlreadyExists(status)) return status;
    return absl::AlreadyExistsError(
        fmt::format("another process has come as rank {} of generation {}; give every rank a number of its own and "
                    "every start a generation that was not used before",
                    options.rank, options.generation));
  }
  std::vector<std::string> theirs(mine.size());
  std::vector<int> missing;
  for (int r = 0; r < options.size; ++r) {
    if (r == options.rank) continue;
    const auto left = std::max(std::chrono::milliseconds(0),
                               std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()));
    const absl::StatusOr<std::string> joined = store.Get(Key(options, r), left);
    if (joined.ok()) {
      theirs[static_cast<size_t>(r)] = CardFor(options.rank, *joined);
    } else if (absl::IsDeadlineExceeded(joined.status())) {
      missing.push_back(r);
    } else {
      return joined.status();
    }
  }
  if (missing.empty()) return theirs;
  if (options.missing != nullptr) *options.missing = missing;
  return absl::DeadlineExceededError(fmt::format(
      "of the {} ranks of generation {} these did not come within {:.1f} s: {}", options.size, options.generation,
      1e-3 * static_cast<double>(options.connect_deadline.count()), fmt::join(missing, ", ")));
}

absl::Status NewGroup(const GlooOptions& options, KeyValueStore& store, std::unique_ptr<Transport>* transport) {
  GlooMeeting meeting;
  meeting.rank = options.rank;
  meeting.size = options.size;
  meeting.host = HostName();
  meeting.deadline = Clock::now() + options.connect_deadline;
  meeting.missing = options.missing;
  meeting.swap_cards = [&](const std::vector<std::string>& mine) {
    return SwapThroughStore(options, store, meeting.deadline, mine);
  };
  std::shared_ptr<gloo::transport::Device> device;
  if (options.size > 1) {
    auto opened = OpenGlooDevice(options.host, options.interface);
    if (!opened.ok()) return opened.status();
    device = *std::move(opened);
  }
  absl::StatusOr<std::unique_ptr<Transport>> group = ConnectGloo(std::move(device), meeting);
  if (!group.ok()) return group.status();
  *transport = *std::move(group);
  return absl::OkStatus();
}

}  // namespace
}  // namespace filigree::comm

extern "C" __attribute__((visibility("default"))) const filigree::comm::GlooModule* FiligreeGlooModule(int version) {
  static constexpr filigree::comm::GlooModule kModule = {filigree::comm::NewGroup};
  return version == filigree::comm::kGlooModuleVersion ? &kModule : nullptr;
}
