#include "worker/cli/train_in_world.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/ticking_files.h"
#include "worker/cli/command.h"
#include "worker/cli/metrics.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/config/load.h"
#include "worker/parallel/watchdog.h"
#include "worker/run/kept_state.h"
#include "worker/run/stop.h"
#include "worker/run/trainer.h"
#include "worker/train/fault.h"

namespace filigree::cli {
namespace {

// What tells this program from another build of it.
std::string Identity() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return fmt::format("filigree {} {}, {} bytes, xxh3 {:016x}", FILIGREE_VERSION, FILIGREE_REVISION, bytes.size(),
                     XXH3_64bits(bytes.data(), bytes.size()));
}

// What all ranks know alike is said by the first alone.
int FinishTogether(const parallel::World& world, const absl::Status& status) {
  return world.first() ? Finish(status) : ExitCodeOf(status);
}

// From the newest state that ranks of a world after a loss still have, else from the last checkpoint or the beginning.
absl::Status OpenOrKeep(const Surroundings& surroundings, const config::Settings& settings, parallel::World& world,
                        checkpoint::FileSystem& files, HeldRun& run) {
  train::Fencing* const fencing = surroundings.fencing;
  // Asked at every start: a process that has just been started may be a newcomer to a run.
  absl::StatusOr<train::Kept> kept =
      train::KeepState(run.get(), settings.run.dir, static_cast<int>(settings.checkpoint.keep), world, files, fencing);
  if (!kept.ok()) return kept.status();
  if (kept->way == train::Kept::Way::kMemory) {
    run->resumed = false;
    run->owed = kept->owed;
    run->notes = {
        fmt::format("ranks were lost; going on at step {} from the state that the others have", run->state->step)};
    return absl::OkStatus();
  }
  train::OpenOptions options;
  options.program = world.size() > 1 ? Identity() : std::string();
  options.fencing = fencing;
  options.lock_patience = surroundings.first_start ? 0 : train::kLockPatience;
  if (run != nullptr) options.corpus = std::move(run->corpus);
  run = nullptr;  // and with it the lock of the folder
  absl::StatusOr<train::OpenedRun> opened = train::OpenRun(settings, &world, std::move(options));
  if (!opened.ok()) return opened.status();
  run = std::make_unique<train::OpenedRun>(*std::move(opened));
  if (run->state->step >= run->settings.run.steps) run->owed = kept->owed;
  if (kept->way == train::Kept::Way::kCheckpoint) {
    run->notes.push_back(fmt::format("newcomers take over the state of step {} that other ranks had", kept->step));
    run->last_steps = std::move(kept->last_steps);
  }
  if (!kept->note.empty()) run->notes.push_back(kept->note);
  return absl::OkStatus();
}

// An exception that nothing was prepared for ends the run on all ranks: by itself it would only end this one, and the
// others would wait for it.
absl::Status AbortFor(const std::exception& error, parallel::World& world) {
  const absl::Status why = absl::InternalError(fmt::format("an error that nothing was prepared for: {}", error.what()));
  world.Abort(why);
  return why;
}

// Before the trainer is destroyed, whose own threads may be waiting for other ranks.
absl::StatusOr<train::RunEnd> RunOrAbort(train::Trainer& trainer, parallel::World& world) {
  try {
    return trainer.Run();
  } catch (const std::exception& error) {
    return AbortFor(error, world);
  }
}

// What became of one start of the run, and how far it came.
struct Attempt {
  int exit_code = kExitDone;
  int64_t began_at = 0;                 // step
  absl::Status why = absl::OkStatus();  // it ended with a code that says failure
};

Attempt Failed(const parallel::World& world, const absl::Status& why) { return {FinishTogether(world, why), 0, why}; }

Attempt TrainOn(const Surroundings& surroundings, const config::Settings& settings, bool first_attempt,
                parallel::World& world, metrics::RankMetrics* metrics, HeldRun& run) {
  // After going back this is no step any more, and reading a checkpoint takes its time.
  world.progress().Enter("opening the run", 0, parallel::Progress::Kind::kOther);
  // A slow disk is no rank that hangs.
  checkpoint::TickingFiles files(train::FaultyFileSystem(), [&world] { world.progress().Tick(); });
  const absl::Status opened = OpenOrKeep(surroundings, settings, world, files, run);
  if (absl::Status loss = LossOf(world); !loss.ok()) return {kExitRankLost, 0, std::move(loss)};
  if (train::IsSuperseded(opened)) return {kExitRankLost, 0, opened};
  if (!opened.ok()) return Failed(world, opened);
  run->pool->CountInto(world.progress().work_done());
  if (first_attempt && surroundings.first_start && !surroundings.quiet && world.first()) {
    Print("{}\n", config::ToToml(run->settings));
  }
  if (run->state->step >= run->settings.run.steps && run->owed == train::Owed::kNothing) {
    if (world.first()) {
      Print("The run in {} is complete: {} of {} steps.\n", run->settings.run.dir, run->state->step,
            run->settings.run.steps);
    }
    return {kExitDone};
  }
  const int64_t began_at = run->state->step;
  train::TrainerOptions trainer_options;
  trainer_options.output = surroundings.quiet ? telemetry::Output::kQuiet : telemetry::Output::kAuto;
  trainer_options.revision = "filigree " FILIGREE_VERSION " " FILIGREE_REVISION;
  trainer_options.stop_requested = surroundings.stop_requested;
  trainer_options.file_system = &files;
  trainer_options.world = &world;
  trainer_options.metrics = metrics;
  trainer_options.fencing = surroundings.fencing;
  train::Trainer trainer(*run, trainer_options);
  const absl::StatusOr<train::RunEnd> end = RunOrAbort(trainer, world);
  if (trainer.replicas_differ()) return {kExitReplicasDiffer, began_at, end.status()};
  const bool one_failed = absl::IsInternal(world.failure());  // AbortFor, here or on another rank
  // Also where the last checkpoint could not be written for want of a rank.
  const bool lost = trainer.lost_a_rank() || trainer.superseded() || (!end.ok() && !LossOf(world).ok());
  if (lost && !one_failed) return {kExitRankLost, began_at, end.status()};
  if (!end.ok()) return Failed(world, end.status());
  if (*end == train::RunEnd::kDone) return {kExitDone};
  if (world.first()) {
    Print("Stopped at step {}; go on with: filigree train {}\n", run->state->step, run->settings.run.dir);
  }
  return {kExitStopped};
}

parallel::Outcome Over(const Attempt& attempt) {
  return {attempt.exit_code, absl::OkStatus(), /*left=*/false, std::string(attempt.why.message())};
}

// Where replicas differ the run goes back to its last checkpoint, in the same processes, as long as that gets it on.
parallel::Outcome TrainTogether(const Surroundings& surroundings, const config::Settings& settings,
                                parallel::World& world, HeldRun& run) {
  constexpr int kMostWithoutProgress = 3;
  const absl::StatusOr<ShownMetrics> shown =
      ShowMetrics(settings, surroundings.job, surroundings.metrics != nullptr, surroundings.first_start,
                  world);  // anew: ranks of a new world have new numbers
  if (absl::Status loss = LossOf(world); !loss.ok()) return {kExitRankLost, std::move(loss)};
  if (!shown.ok()) return Over(Failed(world, shown.status()));
  if (surroundings.metrics) surroundings.metrics(*shown);
  int64_t furthest = -1;
  for (int without_progress = 0;;) {
    const Attempt attempt = TrainOn(surroundings, settings, furthest < 0, world, shown->metrics.get(), run);
    if (attempt.exit_code == kExitRankLost) return {attempt.exit_code, attempt.why};
    if (attempt.exit_code != kExitReplicasDiffer) return Over(attempt);
    run->state = nullptr;  // nothing to go on from; the corpus is
    if (shown->metrics != nullptr) shown->metrics->ReplicasDiffered();
    without_progress = attempt.began_at > furthest ? 1 : without_progress + 1;
    furthest = std::max(furthest, attempt.began_at);
    const bool again = without_progress < kMostWithoutProgress;
    if (world.first()) {
      Say("{}; {}", std::string(attempt.why.message()),
          again ? "going back to the last checkpoint"
                : "it happened again after going back; have the memory of the named machines tested");
    }
    if (!again) return Over(attempt);
  }
}

parallel::Outcome TrainOrAbort(const Surroundings& surroundings, const config::Settings& settings,
                               parallel::World& world, HeldRun& run) {
  try {
    return TrainTogether(surroundings, settings, world, run);
  } catch (const std::exception& error) {
    return Over(Failed(world, AbortFor(error, world)));
  }
}

}  // namespace

void EndUnless(const std::atomic<bool>& over, parallel::World& world) {
  if (!parallel::AwaitUnlessStuck(over, world.progress())) std::_Exit(kExitRankLost);
}

absl::Status LossOf(const parallel::World& world) {
  const absl::Status failure = world.failure();
  const bool loss = absl::IsUnavailable(failure) || absl::IsDeadlineExceeded(failure);
  return loss ? failure : absl::OkStatus();
}

parallel::Outcome TrainInWorld(const Surroundings& surroundings, const config::Settings& settings,
                               parallel::World& world, std::atomic<bool>& over, HeldRun& run) {
  if (surroundings.first_start) train::SetFaultRank(world.rank());
  parallel::Watchdog::Options watch;
  watch.stuck_after = settings.parallel.stuck_after;
  watch.on_failure = surroundings.on_failure;
  watch.on_stuck = surroundings.on_stuck;
  const absl::StatusOr<std::unique_ptr<parallel::Watchdog>> watchdog = parallel::Watchdog::Start(world, watch);
  parallel::Outcome outcome = {kExitRankLost, LossOf(world)};
  if (watchdog.ok()) {
    outcome = TrainOrAbort(surroundings, settings, world, run);
  } else if (outcome.lost.ok()) {
    outcome = Over(Failed(world, watchdog.status()));
  }
  over = true;
  // Somebody may wait in a group of its own that is whole, and would until its deadline.
  // Whatever it is called here, to them it is the loss of a rank.
  if (!outcome.lost.ok()) {
    const std::string why(outcome.lost.message());
    world.Abort(train::IsSuperseded(outcome.lost) ? outcome.lost : absl::UnavailableError(why));
  }
  return outcome;
}

}  // namespace filigree::cli
