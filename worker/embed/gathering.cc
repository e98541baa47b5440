#include "worker/embed/gathering.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

namespace filigree::embed {
namespace {

// A rank that is lost is its world's matter: the watchdog ends the run long before.
constexpr std::chrono::minutes kDeadline{10};

}  // namespace

absl::StatusOr<std::unique_ptr<Gathering>> Gathering::Start(parallel::World& world, Options options) {
  std::unique_ptr<comm::Communicator> group;
  if (world.size() > 1) {
    absl::StatusOr<std::unique_ptr<comm::Communicator>> split = world.AnotherGroup();
    if (!split.ok()) return split.status();
    group = *std::move(split);
    group->SetDeadline(kDeadline);
    group->Name("what ranks tell of themselves");
  }
  return std::unique_ptr<Gathering>(new Gathering(std::move(group), std::move(options)));
}

Gathering::Gathering(std::unique_ptr<comm::Communicator> group, Options options)
    : group_(std::move(group)), options_(std::move(options)), thread_([this] { Run(); }) {}

Gathering::~Gathering() {
  leaving_ = true;
  thread_.join();
}

void Gathering::Run() {
  constexpr std::chrono::milliseconds kLook{20};
  while (Round()) {
    for (auto waited = kLook; waited < options_.interval && !leaving_; waited += kLook)
      std::this_thread::sleep_for(kLook);
  }
}

// The first byte says whether a rank leaves.
bool Gathering::Round() {
  const bool leaving = leaving_;
  const std::string mine = fmt::format("{}{}", leaving ? '-' : '+', options_.tell());
  std::vector<std::string> all = {mine};
  if (group_ != nullptr) {
    absl::StatusOr<std::vector<std::string>> gathered = group_->AllGatherStrings(mine);
    if (!gathered.ok()) return false;
    all = *std::move(gathered);
  }
  const bool last = std::all_of(all.begin(), all.end(), [](const std::string& one) { return one.front() == '-'; });
  for (std::string& one : all) one.erase(0, 1);
  if (options_.hear) options_.hear(all);
  return !last;
}

}  // namespace filigree::embed
