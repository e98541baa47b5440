#include "worker/run/kept_state.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "worker/exchange/state_digest.h"
#include "worker/run/run_facts.h"
#include "worker/run/save_together.h"
#include "worker/telemetry/parse_record.h"
#include "worker/telemetry/read_log.h"
#include "worker/telemetry/records.h"
#include "worker/train/ownership.h"
#include "worker/train/replicas.h"

namespace filigree::train {
namespace {

// Can the run go on from what this rank has in memory, together with what others have?
bool Usable(const OpenedRun* run, const Fencing* fencing) {
  if (run == nullptr || run->state == nullptr || run->state->torn) return false;
  if (run->state->step >= run->settings.run.steps && run->owed == Owed::kNothing) return false;
  if (fencing != nullptr && fencing->rollback) return false;
  if (fencing != nullptr && fencing->resume && run->state->step < fencing->resume->step) return false;
  const config::ParallelSettings& parallel = run->settings.parallel;
  const bool sums_all = parallel.exchange == config::Exchange::kTree || parallel.exchange == config::Exchange::kDense;
  return sums_all && parallel.wire == config::Wire::kFp32;  // else something is owed
}

// What a rank has: the step of its state, -1: none that is usable; whether that is all it needs in the new world; what
// is owed at it, as far as this rank knows; and of which tensors it has the moments.
struct Holding {
  int64_t step = -1;
  bool fits = false;
  Owed owed = Owed::kNothing;
  std::string moments;  // a character a tensor, '1': yes
};

Holding HoldingOf(const OpenedRun& run, const parallel::World& world) {
  const TrainState& state = *run.state;
  const std::vector<bool> needed = HeldBy(run.settings, state.registry, world.grid(), world.rank());
  Holding holding = {state.step, true, run.owed, std::string(state.registry.size(), '0')};
  for (int tensor = 0; tensor < state.registry.size(); ++tensor) {
    const bool holds = state.HoldsMoments(tensor);
    const bool needs = needed.empty() || needed[tensor];
    if (holds) holding.moments[tensor] = '1';
    if (needs && !holds) holding.fits = false;
  }
  return holding;
}

absl::StatusOr<std::vector<Holding>> HoldingsOfRanks(const OpenedRun* run, parallel::World& world,
                                                     const Fencing* fencing) {
  Holding mine;
  if (Usable(run, fencing)) mine = HoldingOf(*run, world);
  world.all().Name("what each rank has");
  const auto words = world.all().AllGatherStrings(
      fmt::format("{} {} {} {}", mine.step, mine.fits ? 1 : 0, static_cast<int>(mine.owed), mine.moments));
  if (!words.ok()) return words.status();
  std::vector<Holding> holdings(words->size());
  size_t tensors = 0;
  for (size_t rank = 0; rank < holdings.size(); ++rank) {
    const std::vector<std::string> parts = absl::StrSplit((*words)[rank], ' ');
    int owed = 0;
    if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &holdings[rank].step) || !absl::SimpleAtoi(parts[2], &owed) ||
        owed < 0 || owed > static_cast<int>(Owed::kEvaluation)) {
      return absl::InternalError(fmt::format("rank {} says '{}' of its state", rank, (*words)[rank]));
    }
    holdings[rank].fits = parts[1] == "1";
    holdings[rank].owed = static_cast<Owed>(owed);
    holdings[rank].moments = parts[3];
    if (holdings[rank].step < 0) continue;
    if (tensors == 0) tensors = parts[3].size();
    if (parts[3].size() != tensors) {
      return absl::InvalidArgumentError(
          fmt::format("rank {} has a state of {} tensors where others have {}: they do not train the same model", rank,
                      parts[3].size(), tensors));
    }
  }
  return holdings;
}

// The ranks that have the state of a step, and what they have of it.
struct Holders {
  int64_t step = -1;
  Owed owed = Owed::kNothing;  // after the last step: what none of them knows to be done
  std::vector<int> ranks;
  bool all_fit = false;  // every rank of the world is one of them and has what it needs
  // One a tensor: of its moments how many holders have them, and the place of one among `ranks`.
  std::vector<int> holders_of, holder_of;

  bool have_everything() const {
    return std::all_of(holders_of.begin(), holders_of.end(), [](int count) { return count > 0; });
  }
  bool all_have(int tensor) const { return holders_of[tensor] == std::ssize(ranks); }
};

Holders HoldersAt(int64_t step, const std::vector<Holding>& holdings) {
  Holders holders;
  holders.step = step;
  holders.owed = Owed::kEvaluation;
  holders.all_fit = true;
  for (int rank = 0; rank < std::ssize(holdings); ++rank) {
    const Holding& holding = holdings[rank];
    holders.all_fit = holders.all_fit && holding.step == holders.step && holding.fits;
    if (holding.step != holders.step) continue;
    holders.owed = std::min(holders.owed, holding.owed);
    holders.holders_of.resize(holding.moments.size());
    holders.holder_of.resize(holding.moments.size(), -1);
    for (size_t tensor = 0; tensor < holding.moments.size(); ++tensor) {
      if (holding.moments[tensor] != '1') continue;
      ++holders.holders_of[tensor];
      if (holders.holder_of[tensor] < 0) holders.holder_of[tensor] = static_cast<int>(holders.ranks.size());
    }
    holders.ranks.push_back(rank);
  }
  return holders;
}

// Of the newest state of which somebody has everything; step -1: there is none.
Holders NewestWhole(const std::vector<Holding>& holdings) {
  std::set<int64_t, std::greater<>> steps;
  for (const Holding& holding : holdings) {
    if (holding.step >= 0) steps.insert(holding.step);
  }
  for (const int64_t step : steps) {
    Holders holders = HoldersAt(step, holdings);
    if (holders.have_everything()) return holders;
  }
  return {};
}

// A digest of what all holders have, then one of the moments of each tensor that only some have: "3:HEX", "-" by
// others.
std::vector<std::string> DigestWords(const OpenedRun& run, const Holders& holders) {
  using exchange::Component;
  std::vector<exchange::TensorDigests> digests = DigestsOf(*run.state, *run.pool);
  std::vector<std::string> of_moments;
  of_moments.reserve(digests.size());
  for (int tensor = 0; tensor < std::ssize(digests); ++tensor) {
    if (holders.all_have(tensor)) continue;
    exchange::TensorDigests moments;
    for (const Component component : {Component::kFirstMoments, Component::kSecondMoments}) {
      std::swap(moments.of[static_cast<int>(component)], digests[tensor].of[static_cast<int>(component)]);
    }
    const bool holds = run.state->HoldsMoments(tensor);
    of_moments.push_back(holds ? exchange::Hex(exchange::Together({&moments, 1})) : "-");
  }
  std::vector<std::string> words = {
      fmt::format("{}:{}", run.state->position, exchange::Hex(exchange::Together(digests)))};
  words.insert(words.end(), of_moments.begin(), of_moments.end());
  return words;
}

// Have all holders the same state, as far as several have it? Those who have none answer nothing.
absl::StatusOr<bool> Agree(const OpenedRun* run, bool holds, const Holders& holders, parallel::World& world) {
  const parallel::Progress::Waiting waiting(world.progress());
  world.all().Name("digests of the state that each rank has");
  const auto told = world.all().AllGatherStrings(holds ? absl::StrJoin(DigestWords(*run, holders), " ") : "");
  if (!told.ok()) return told.status();
  std::vector<std::string> agreed;
  for (const int rank : holders.ranks) {
    const std::vector<std::string> words = absl::StrSplit((*told)[rank], ' ');
    if (agreed.empty()) agreed = words;
    if (words.size() != agreed.size()) return false;
    for (size_t i = 0; i < words.size(); ++i) {
      if (agreed[i] == "-") agreed[i] = words[i];
      if (words[i] != "-" && words[i] != agreed[i]) return false;
    }
  }
  return true;
}

// A holder's last steps, for whoever writes the log from now on.
absl::StatusOr<std::vector<telemetry::StepRecord>> TellLastSteps(const OpenedRun* run, int holder,
                                                                 parallel::World& world) {
  std::string mine;
  if (world.rank() == holder) {
    for (const telemetry::StepRecord& step : run->last_steps) mine += telemetry::FormatRecord(step);
  }
  world.all().Name("the last steps that were done");
  const absl::StatusOr<std::vector<std::string>> told = world.all().AllGatherStrings(mine);
  if (!told.ok()) return told.status();
  std::vector<telemetry::StepRecord> steps;
  for (const absl::string_view line : absl::StrSplit((*told)[holder], '\n', absl::SkipEmpty())) {
    telemetry::Record record;
    int64_t step = 0;
    telemetry::ReadLine(std::string(line), record, step);
    if (const auto* of_step = std::get_if<telemetry::StepRecord>(&record); of_step != nullptr)
      steps.push_back(*of_step);
  }
  return steps;
}

// The first rank's, of this generation.
absl::Status LockFolder(const std::string& run_dir, parallel::World& world, const Fencing* fencing,
                        std::optional<checkpoint::RunLock>& lock) {
  absl::Status status;
  if (world.first() && (!lock.has_value() || fencing != nullptr)) {
    status = TakeLock(run_dir, fencing, lock, kLockPatience, &world);
  }
  return world.Agree(status);
}

}  // namespace

absl::StatusOr<Kept> KeepState(OpenedRun* run, const std::string& run_dir, int keep_last, parallel::World& world,
                               checkpoint::FileSystem& files, Fencing* fencing) {
  if (run != nullptr && !world.first()) run->lock.reset();  // it was the first before
  const absl::StatusOr<std::vector<Holding>> holdings = HoldingsOfRanks(run, world, fencing);
  if (!holdings.ok()) return holdings.status();
  const Holders holders = NewestWhole(*holdings);
  const int64_t newest = holders.step;
  if (newest < 0) {
    const bool some = std::any_of(holdings->begin(), holdings->end(), [](const Holding& h) { return h.step >= 0; });
    return Kept{.note = some ? "no state in memory is whole: moments that lost ranks owned are lost with them" : ""};
  }
  const bool holds = (*holdings)[world.rank()].step == newest;
  const absl::StatusOr<bool> same = Agree(run, holds, holders, world);
  if (!same.ok()) return same.status();
  if (!*same) return Kept{.note = "the ranks that are left do not hold the same state"};
  std::optional<checkpoint::RunLock> newcomers;
  absl::Status locked = LockFolder(run_dir, world, fencing, run == nullptr ? newcomers : run->lock);
  if (!locked.ok()) return locked;
  if (holders.all_fit) return Kept{Kept::Way::kMemory, newest, holders.owed, "", {}};
  // What was committed is there already.
  if (fencing != nullptr && fencing->resume && fencing->resume->step == newest) return Kept{.owed = holders.owed};
  std::optional<checkpoint::State> state;
  if (holds) state = SavedView(*run);
  std::vector<int> writers = holders.holder_of;
  for (int tensor = 0; tensor < std::ssize(writers); ++tensor) {
    if (holders.all_have(tensor)) writers[tensor] = -1;
  }
  const auto saved =
      SaveOfHolders(world, files, run_dir, state ? &*state : nullptr, {holders.ranks, writers}, keep_last, fencing);
  if (checkpoint::IsSuperseded(saved.status())) return saved.status();
  if (!world.failure().ok()) return saved.ok() ? world.failure() : saved.status();
  if (!saved.ok()) {
    return Kept{.note = fmt::format("the state of step {} that some ranks held could not be saved: {}", newest,
                                    std::string(saved.status().message()))};
  }
  if (fencing != nullptr) fencing->resume = saved->point;
  absl::StatusOr<std::vector<telemetry::StepRecord>> steps_so_far = TellLastSteps(run, holders.ranks.front(), world);
  if (!steps_so_far.ok()) return steps_so_far.status();
  return Kept{Kept::Way::kCheckpoint, newest, holders.owed, "", *std::move(steps_so_far)};
}

}  // namespace filigree::train
