#include "worker/run/kept_state.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

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

// Can the run go on from what this rank has in memory?
bool Usable(const OpenedRun* run, const Fencing* fencing) {
  if (run == nullptr || run->state == nullptr) return false;
  if (run->state->step >= run->settings.run.steps && !run->last_save_owed) return false;
  if (fencing != nullptr && fencing->rollback) return false;
  if (fencing != nullptr && fencing->resume && run->state->step < fencing->resume->step) return false;
  const config::ParallelSettings& parallel = run->settings.parallel;
  const bool owed = parallel.exchange != config::Exchange::kTree || parallel.wire != config::Wire::kFp32;
  return !owed && !DividesUpdates(run->settings);  // what a lost rank owned is lost with it
}

// The step of a usable state, -1 without one, of every rank.
absl::StatusOr<std::vector<int64_t>> StepsOfRanks(const OpenedRun* run, parallel::World& world,
                                                  const Fencing* fencing) {
  const int64_t mine = Usable(run, fencing) ? run->state->step : -1;
  world.all().Name("where each rank is");
  const absl::StatusOr<std::vector<std::string>> words = world.all().AllGatherStrings(std::to_string(mine));
  if (!words.ok()) return words.status();
  std::vector<int64_t> steps(words->size(), -1);
  for (size_t rank = 0; rank < steps.size(); ++rank) {
    const std::string& word = (*words)[rank];
    std::from_chars(word.data(), word.data() + word.size(), steps[rank]);
  }
  return steps;
}

// Have all holders the same state? Those who have none answer nothing.
absl::StatusOr<bool> Agree(const OpenedRun* run, bool holds, std::span<const int> holders, parallel::World& world) {
  std::string mine;
  if (holds) {
    const auto digests = DigestsOf(*run->state, *run->pool);
    mine = fmt::format("{} {}", run->state->position, exchange::Hex(exchange::Together(digests)));
  }
  const parallel::Progress::Waiting waiting(world.progress());
  world.all().Name("digests of the state that each rank has");
  const absl::StatusOr<std::vector<std::string>> digests = world.all().AllGatherStrings(mine);
  if (!digests.ok()) return digests.status();
  return std::all_of(holders.begin(), holders.end(),
                     [&](int rank) { return (*digests)[rank] == (*digests)[holders.front()]; });
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
  if (world.first() && (!lock.has_value() || fencing != nullptr)) status = TakeLock(run_dir, fencing, lock);
  return world.Agree(status);
}

}  // namespace

absl::StatusOr<Kept> KeepState(OpenedRun* run, const std::string& run_dir, int keep_last, parallel::World& world,
                               checkpoint::FileSystem& files, Fencing* fencing) {
  if (run != nullptr && !world.first()) run->lock.reset();  // it was the first before
  const absl::StatusOr<std::vector<int64_t>> steps = StepsOfRanks(run, world, fencing);
  if (!steps.ok()) return steps.status();
  const int64_t newest = *std::max_element(steps->begin(), steps->end());
  if (newest < 0) return Kept();
  std::vector<int> holders;
  for (int rank = 0; rank < world.size(); ++rank) {
    if ((*steps)[rank] == newest) holders.push_back(rank);
  }
  const bool all = std::ssize(holders) == world.size(), holds = (*steps)[world.rank()] == newest;
  const absl::StatusOr<bool> same = Agree(run, holds, holders, world);
  if (!same.ok()) return same.status();
  if (!*same) return Kept{Kept::Way::kNothing, 0, "the ranks that are left do not hold the same state", {}};
  std::optional<checkpoint::RunLock> newcomers;
  absl::Status locked = LockFolder(run_dir, world, fencing, run == nullptr ? newcomers : run->lock);
  if (!locked.ok()) return locked;
  if (all) return Kept{Kept::Way::kMemory, newest, "", {}};
  // What was committed is there already.
  if (fencing != nullptr && fencing->resume && fencing->resume->step == newest) return Kept();
  std::optional<checkpoint::State> state;
  if (holds) state = SavedView(*run);
  const auto saved = SaveOfHolders(world, files, run_dir, state ? &*state : nullptr, holders, keep_last, fencing);
  if (checkpoint::IsSuperseded(saved.status()) || !world.failure().ok()) return saved.status();
  if (!saved.ok()) {
    return Kept{Kept::Way::kNothing,
                0,
                fmt::format("the state of step {} that some ranks held could not be saved: {}", newest,
                            std::string(saved.status().message())),
                {}};
  }
  if (fencing != nullptr) fencing->resume = saved->point;
  absl::StatusOr<std::vector<telemetry::StepRecord>> steps_so_far = TellLastSteps(run, holders.front(), world);
  if (!steps_so_far.ok()) return steps_so_far.status();
  return Kept{Kept::Way::kCheckpoint, newest, "", *std::move(steps_so_far)};
}

}  // namespace filigree::train
