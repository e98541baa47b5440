#include "worker/parallel/store_membership.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <numeric>
#include <thread>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "worker/comm/gloo.h"
#include "worker/parallel/grid.h"

namespace filigree::parallel {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kAtOnce = std::chrono::milliseconds(0);
constexpr auto kPause = std::chrono::milliseconds(20);
constexpr auto kIdlePause = std::chrono::milliseconds(200);

bool Holds(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// A decision in the store: "members 0 2 idle 3".
std::string Write(const Generation& generation) {
  return fmt::format("members {} idle {}", fmt::join(generation.members, " "), fmt::join(generation.idle, " "));
}

absl::StatusOr<Generation> Read(const std::string& text, int64_t number, int processes) {
  Generation generation;
  generation.number = number;
  std::vector<int>* into = nullptr;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    int process = -1;
    if (word == "members") {
      into = &generation.members;
    } else if (word == "idle") {
      into = &generation.idle;
    } else if (!word.empty()) {
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), process);
      const bool whole = error == std::errc() && stop == word.data() + word.size();
      const bool known = Holds(generation.members, process) || Holds(generation.idle, process);
      if (into == nullptr || !whole || process < 0 || process >= processes || known) {
        return absl::UnavailableError(fmt::format("the store holds no generation {}: \"{}\"", number, text));
      }
      into->push_back(process);
    }
  }
  if (!generation.members.empty()) return generation;
  return absl::UnavailableError(fmt::format("the store holds a generation {} of nobody: \"{}\"", number, text));
}

// What a process says of itself: "here", and whom it has missed: "here without 1 3".
std::string WriteHere(const std::vector<int>& missed) {
  return missed.empty() ? "here" : fmt::format("here without {}", fmt::join(missed, " "));
}

// Whom it has missed. What cannot be understood has missed nobody.
std::vector<int> ReadHere(const std::string& text, int processes) {
  const std::string before = "here without ";
  std::vector<int> missed;
  if (!text.starts_with(before)) return missed;
  const char *at = text.data() + before.size(), *end = text.data() + text.size();
  while (at < end) {
    int process = -1;
    const auto [stop, error] = std::from_chars(at, end, process);
    if (error != std::errc() || process < 0 || process >= processes) return {};
    missed.push_back(process);
    at = stop < end && *stop == ' ' ? stop + 1 : end;
  }
  return missed;
}

class OfStore : public Membership {
 public:
  OfStore(const Launch& launch, const config::Settings& settings, std::shared_ptr<comm::KeyValueStore> store,
          StoreMembershipOptions options)
      : launch_(launch), settings_(settings), store_(std::move(store)), options_(std::move(options)) {}

  absl::StatusOr<Generation> First() override {
    Generation first;
    first.first = true;
    first.members.resize(static_cast<size_t>(launch_.ranks));
    std::iota(first.members.begin(), first.members.end(), 0);
    first.rank = launch_.rank;
    return first;
  }

  void Announce(const Generation& lost) override {
    (void)store_->Set(HereKey(lost.number + 1, launch_.rank), WriteHere(missed_));
  }

  absl::StatusOr<Generation> Next(const Generation& last, const std::string& missed) override;
  absl::StatusOr<std::unique_ptr<comm::Transport>> Join(const Generation& generation) override;
  void Finish(int exit_code) override { (void)store_->Set(Key("over"), std::to_string(exit_code)); }

 private:
  std::string Key(const std::string& what) const { return fmt::format("job/{}/{}", launch_.generation, what); }
  std::string HereKey(int64_t number, int process) const { return Key(fmt::format("{}/here/{}", number, process)); }
  std::string DecisionKey(int64_t number) const { return Key(fmt::format("{}/who", number)); }
  bool Has(const std::string& key) const { return store_->Get(key, kAtOnce).ok(); }

  std::vector<int> Announced(int64_t number) const;
  // Those of them who reach each other, as far as they have said.
  std::vector<int> InOrder(const Generation& lost, const std::vector<int>& together) const;
  std::vector<int> ReachEachOther(int64_t number, std::vector<int> announced) const;
  // Those who are there when it is time to decide.
  std::vector<int> AwaitAnnounced(const Generation& lost) const;
  absl::StatusOr<Generation> Decide(const Generation& lost) const;
  // Waits until this process is asked again: the next generation, or over.
  absl::StatusOr<Generation> Idle(const Generation& without) const;

  const Launch launch_;
  const config::Settings settings_;
  const std::shared_ptr<comm::KeyValueStore> store_;
  const StoreMembershipOptions options_;
  std::vector<int> missed_;  // processes that did not come to the last group, or were not reached
};

std::vector<int> OfStore::Announced(int64_t number) const {
  std::vector<int> announced;
  for (int process = 0; process < launch_.ranks; ++process) {
    if (Has(HereKey(number, process))) announced.push_back(process);
  }
  return announced;
}

std::vector<int> OfStore::ReachEachOther(int64_t number, std::vector<int> announced) const {
  std::vector<std::vector<bool>> apart(launch_.ranks, std::vector<bool>(launch_.ranks));
  for (const int process : announced) {
    const absl::StatusOr<std::string> here = store_->Get(HereKey(number, process), kAtOnce);
    if (!here.ok()) continue;
    for (const int missed : ReadHere(*here, launch_.ranks)) apart[process][missed] = apart[missed][process] = true;
  }
  while (true) {
    const auto pairs = [&](int process) {
      return std::count_if(announced.begin(), announced.end(), [&](int other) { return apart[process][other]; });
    };
    // The last of the worst: low numbers go on.
    const auto worst =
        std::max_element(announced.rbegin(), announced.rend(), [&](int a, int b) { return pairs(a) < pairs(b); });
    if (worst == announced.rend() || pairs(*worst) == 0) return announced;
    announced.erase(std::next(worst).base());
  }
}

std::vector<int> OfStore::AwaitAnnounced(const Generation& lost) const {
  const size_t before = lost.members.size() + lost.idle.size();
  const Clock::time_point begin = Clock::now();
  Clock::time_point end = begin + options_.grace;
  while (true) {
    std::vector<int> announced = Announced(lost.number + 1);
    if (announced.size() + 1 >= before) end = std::min(end, Clock::now() + options_.settle);
    const bool decided = Has(DecisionKey(lost.number + 1));
    if (announced.size() >= before || decided || Clock::now() >= end) return announced;
    std::this_thread::sleep_for(kPause);
  }
}

// Groups that share a model and have lost nobody come first, as they have all of its state together; then the lowest
// numbers.
std::vector<int> OfStore::InOrder(const Generation& lost, const std::vector<int>& together) const {
  const auto tensor = static_cast<size_t>(settings_.parallel.tensor);
  std::vector<int> order;
  order.reserve(together.size());
  for (size_t first = 0; tensor > 1 && first + tensor <= lost.members.size(); first += tensor) {
    const std::span<const int> group(lost.members.data() + first, tensor);
    const bool whole = std::all_of(group.begin(), group.end(), [&](int process) { return Holds(together, process); });
    if (whole) order.insert(order.end(), group.begin(), group.end());
  }
  for (const int process : together) {
    if (!Holds(order, process)) order.push_back(process);
  }
  return order;
}

absl::StatusOr<Generation> OfStore::Decide(const Generation& lost) const {
  const int64_t number = lost.number + 1;
  const std::vector<int> here = AwaitAnnounced(lost), together = ReachEachOther(number, here);
  const int size = LargestGrid(settings_, static_cast<int>(together.size())).size();
  Generation proposal;
  proposal.members = InOrder(lost, together);
  proposal.members.resize(size);
  for (const int process : here) {
    if (!Holds(proposal.members, process)) proposal.idle.push_back(process);
  }
  if (size > 0) {
    const absl::Status mine = store_->Set(DecisionKey(number), Write(proposal));
    if (!mine.ok() && !absl::IsAlreadyExists(mine)) return mine;
  }
  const absl::StatusOr<std::string> decided = store_->Get(DecisionKey(number), kAtOnce);
  if (decided.ok()) return Read(*decided, number, launch_.ranks);
  return absl::UnavailableError(fmt::format("of {} ranks {} are left, too few for parallel.tensor {}", launch_.ranks,
                                            together.size(), settings_.parallel.tensor));
}

absl::StatusOr<Generation> OfStore::Next(const Generation& last, const std::string& /*missed*/) {
  Generation next = last;
  while (!next.over) {
    Announce(next);
    missed_.clear();
    absl::StatusOr<Generation> decided = Decide(next);
    if (!decided.ok()) return decided;
    next = *std::move(decided);
    const auto place = std::find(next.members.begin(), next.members.end(), launch_.rank);
    if (place != next.members.end()) {
      next.rank = static_cast<int>(place - next.members.begin());
      return next;
    }
    absl::StatusOr<Generation> asked = Idle(next);
    if (!asked.ok()) return asked;
    next = *std::move(asked);
  }
  return next;
}

absl::StatusOr<Generation> OfStore::Idle(const Generation& without) const {
  if (options_.idles) {
    options_.idles(fmt::format("process {} idles: generation {} goes on with {} ranks", launch_.rank, without.number,
                               without.size()));
  }
  Generation here = without;
  while (true) {
    if (const absl::StatusOr<std::string> over = store_->Get(Key("over"), kAtOnce); over.ok()) {
      here.over = std::atoi(over->c_str());
      return here;
    }
    if (options_.stop_requested && options_.stop_requested()) {
      here.over = kStoppedExitCode;
      return here;
    }
    if (!Announced(here.number + 1).empty()) return here;
    std::this_thread::sleep_for(kIdlePause);
  }
}

absl::StatusOr<std::unique_ptr<comm::Transport>> OfStore::Join(const Generation& generation) {
  comm::GlooOptions options;
  options.rank = generation.rank;
  options.size = generation.size();
  options.host = launch_.host;
  options.interface = launch_.interface;
  options.generation = fmt::format("{}.{}", launch_.generation, generation.number);
  options.connect_deadline = generation.first ? options_.meeting : options_.meeting_again;
  std::vector<int> missing;  // ranks
  options.missing = &missing;
  absl::StatusOr<std::unique_ptr<comm::Transport>> group = comm::GlooGroup(options, store_);
  for (const int rank : missing) missed_.push_back(generation.members[rank]);
  return group;
}

}  // namespace

std::unique_ptr<Membership> StoreMembership(const Launch& launch, const config::Settings& settings,
                                            std::shared_ptr<comm::KeyValueStore> store,
                                            StoreMembershipOptions options) {
  return std::make_unique<OfStore>(launch, settings, std::move(store), std::move(options));
}

absl::StatusOr<std::unique_ptr<Membership>> OpenStoreMembership(const absl::StatusOr<config::Settings>& settings,
                                                                StoreMembershipOptions options) {
  const absl::StatusOr<Launch> launch = ReadLaunch(std::getenv);
  if (!launch.ok()) return launch.status();
  absl::StatusOr<std::shared_ptr<comm::KeyValueStore>> store = comm::FolderStore(launch->store);
  if (!store.ok()) {
    return absl::Status(store.status().code(),
                        fmt::format("FILIGREE_STORE: {}", std::string(store.status().message())));
  }
  return StoreMembership(*launch, settings.ok() ? *settings : config::Settings(), *std::move(store),
                         std::move(options));
}

}  // namespace filigree::parallel
