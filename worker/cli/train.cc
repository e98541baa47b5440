#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/dry_run.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/comm/mpi.h"
#include "worker/config/load.h"
#include "worker/parallel/generations.h"
#include "worker/parallel/launch.h"
#include "worker/parallel/store_membership.h"
#include "worker/parallel/watchdog.h"
#include "worker/parallel/world.h"
#include "worker/train/fault.h"
#include "worker/train/open_run.h"
#include "worker/train/stop.h"
#include "worker/train/trainer.h"

namespace filigree::cli {
namespace {

struct TrainOptions {
  std::string config;
  std::vector<std::string> overrides;
  bool quiet = false;
  DryRunOptions dry_run;
};

// What tells this program from another build of it.
std::string Identity() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return fmt::format("filigree {} {}, {} bytes, xxh3 {:016x}", FILIGREE_VERSION, FILIGREE_REVISION, bytes.size(),
                     XXH3_64bits(bytes.data(), bytes.size()));
}

// This process's number among those that a launcher started, from its environment: for the time before they have met.
int LaunchedRank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* text = std::getenv(name); text != nullptr) return std::atoi(text);
  }
  return 0;
}

// What all ranks know alike is said by the first alone.
int FinishTogether(const parallel::World& world, const absl::Status& status) {
  return world.first() ? Finish(status) : ExitCodeOf(status);
}

// Whoever notices first that a rank is lost says so and ends the job: the others are given a moment, in the order of
// ranks, so that it is said once.
int EndLostJob(const parallel::World& world, const absl::Status& status) {
  std::this_thread::sleep_for(std::chrono::milliseconds(100) * world.rank());
  Print(stderr, "filigree: rank {}: {}; go on from the last checkpoint with the same command\n", world.rank(),
        std::string(status.message()));
  if (comm::UnderMpi()) comm::AbortMpi(kExitRankLost);
  return kExitRankLost;
}

// A loss that the ranks of a world may outlive: some do not reach each other any more.
absl::Status LossOf(const parallel::World& world) {
  const absl::Status failure = world.failure();
  const bool loss = absl::IsUnavailable(failure) || absl::IsDeadlineExceeded(failure);
  return loss ? failure : absl::OkStatus();
}

// What became of one start of the run, and how far it came.
struct Attempt {
  int exit_code = kExitDone;
  int64_t began_at = 0;                      // step
  absl::Status replicas = absl::OkStatus();  // DataLoss: they differ, and the last checkpoint is where to go on
};

Attempt TrainFromCheckpoint(const TrainOptions& options, const config::Settings& settings, bool first_attempt,
                            parallel::World& world) {
  absl::StatusOr<train::OpenedRun> run =
      train::OpenRun(settings, &world, world.size() > 1 ? Identity() : std::string());
  if (!LossOf(world).ok()) return {kExitRankLost};
  if (!run.ok()) return {FinishTogether(world, run.status())};
  if (first_attempt && !options.quiet && world.first()) Print("{}\n", config::ToToml(run->settings));
  if (run->state->step >= run->settings.run.steps) {
    if (world.first()) {
      Print("The run in {} is complete: {} of {} steps.\n", run->settings.run.dir, run->state->step,
            run->settings.run.steps);
    }
    return {kExitDone};
  }
  const int64_t began_at = run->state->step;
  train::TrainerOptions trainer_options;
  trainer_options.output = options.quiet ? telemetry::Output::kQuiet : telemetry::Output::kAuto;
  trainer_options.revision = "filigree " FILIGREE_VERSION " " FILIGREE_REVISION;
  trainer_options.stop_requested = train::StopRequested;
  trainer_options.file_system = &train::FaultyFileSystem();
  trainer_options.world = &world;
  train::Trainer trainer(*run, trainer_options);
  const absl::StatusOr<train::RunEnd> end = trainer.Run();
  if (trainer.replicas_differ()) return {kExitReplicasDiffer, began_at, end.status()};
  if (trainer.lost_a_rank()) return {LossOf(world).ok() ? FinishTogether(world, end.status()) : kExitRankLost};
  if (!end.ok()) return {FinishTogether(world, end.status())};
  if (*end == train::RunEnd::kDone) return {kExitDone};
  if (world.first()) {
    Print("Stopped at step {}; go on with: filigree train {}\n", run->state->step, run->settings.run.dir);
  }
  return {kExitStopped};
}

// Where replicas differ the run goes back to its last checkpoint, in the same processes, as long as that gets it on.
int TrainTogether(const TrainOptions& options, const config::Settings& settings, bool first_start,
                  parallel::World& world) {
  constexpr int kMostWithoutProgress = 3;
  int64_t furthest = -1;
  for (int without_progress = 0;;) {
    const Attempt attempt = TrainFromCheckpoint(options, settings, first_start && furthest < 0, world);
    if (attempt.replicas.ok()) return attempt.exit_code;
    without_progress = attempt.began_at > furthest ? 1 : without_progress + 1;
    furthest = std::max(furthest, attempt.began_at);
    const bool again = without_progress < kMostWithoutProgress;
    if (world.first()) {
      Print(stderr, "filigree: {}; {}\n", std::string(attempt.replicas.message()),
            again ? "going back to the last checkpoint"
                  : "it happened again after going back; have the memory of the named machines tested");
    }
    if (!again) return kExitReplicasDiffer;
  }
}

using OnFailure = std::function<void(const std::string& report)>;

// Trains under the eyes of a watchdog. `over` becomes true when training has come back.
parallel::Outcome TrainWatched(const TrainOptions& options, const config::Settings& settings, bool first_start,
                               parallel::World& world, OnFailure on_failure, std::atomic<bool>& over) {
  if (first_start) train::SetFaultRank(world.rank());
  parallel::Watchdog::Options watch;
  watch.stuck_after = settings.parallel.stuck_after;
  watch.on_failure = std::move(on_failure);
  const absl::StatusOr<std::unique_ptr<parallel::Watchdog>> watchdog = parallel::Watchdog::Start(world, watch);
  parallel::Outcome outcome;
  if (watchdog.ok()) {
    outcome.exit_code = TrainTogether(options, settings, first_start, world);
  } else if (LossOf(world).ok()) {
    outcome.exit_code = FinishTogether(world, watchdog.status());
  }
  outcome.lost = LossOf(world);
  over = true;
  return outcome;
}

// Ranks of a launcher that ends all of them when one is lost, or one process.
int TrainOnce(const TrainOptions& options, const absl::StatusOr<config::Settings>& settings) {
  absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Open(settings);
  if (!world.ok()) {
    // Ranks that could not even meet all say so; where they did, it is the same sentence.
    return LaunchedRank() == 0 ? Finish(world.status()) : ExitCodeOf(world.status());
  }
  const auto on_failure = [&](const std::string& report) {
    std::exit(EndLostJob(**world, absl::UnavailableError(report)));
  };
  std::atomic<bool> over{false};
  const parallel::Outcome outcome = TrainWatched(options, *settings, /*first_start=*/true, **world, on_failure, over);
  return outcome.lost.ok() ? outcome.exit_code : EndLostJob(**world, outcome.lost);
}

// Ends a process whose training does not come back from a world that was given up: it hangs itself.
void EndUnless(const std::atomic<bool>& over) {
  for (int tenths = 0; tenths < 10 * parallel::Watchdog::kOutsideOfSteps; ++tenths) {
    if (over) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  std::_Exit(kExitRankLost);
}

// Ranks that meet through a store: those who are left after a loss go on in the same processes.
int TrainInGenerations(const TrainOptions& options, const absl::StatusOr<config::Settings>& settings) {
  const auto tell = [](const std::string& text) { Print(stderr, "filigree: {}\n", text); };
  parallel::StoreMembershipOptions members;
  members.stop_requested = train::StopRequested;
  members.tell = tell;
  const double stuck_after = settings.ok() ? settings->parallel.stuck_after : 0;
  members.grace += std::chrono::milliseconds(static_cast<int64_t>(2e3 * stuck_after));
  const absl::StatusOr<std::unique_ptr<parallel::Membership>> membership =
      parallel::OpenStoreMembership(settings, members);
  if (!membership.ok()) return Finish(membership.status());
  const auto work = [&](parallel::World& world, const parallel::Generation& generation) {
    std::atomic<bool> over{false};
    const auto on_failure = [&](const std::string& report) {
      if (settings->parallel.elastic) (*membership)->Announce(generation);
      world.Abort(absl::UnavailableError(report));
      EndUnless(over);
    };
    parallel::Outcome outcome = TrainWatched(options, *settings, generation.number == 0, world, on_failure, over);
    if (outcome.lost.ok() || settings->parallel.elastic) return outcome;
    return parallel::Outcome{EndLostJob(world, outcome.lost)};
  };
  const absl::StatusOr<int> exit_code = parallel::RunGenerations(settings, **membership, work, tell);
  if (exit_code.ok()) return *exit_code;
  // Who does not meet the others speaks for itself.
  const int failed = Finish(exit_code.status());
  const bool lost = absl::IsAborted(exit_code.status()) || absl::IsDeadlineExceeded(exit_code.status());
  return lost ? kExitRankLost : failed;
}

int RunTrain(const TrainOptions& options) {
  train::CatchStopSignals();
  const absl::StatusOr<config::Settings> settings = train::WantedSettings(options.config, options.overrides);
  if (parallel::MeetThroughStore(settings, std::getenv)) return TrainInGenerations(options, settings);
  const int exit_code = TrainOnce(options, settings);
  comm::FinishMpi();
  return exit_code;
}

}  // namespace

void AddTrainCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("train", "Train a model, or go on with a run");
  auto options = std::make_shared<TrainOptions>();
  command->add_option("config", options->config, "TOML file of a new run, or the folder of a run to go on with")
      ->required();
  command->add_flag("--quiet", options->quiet, "Only evaluations, notes and the end");
  DryRunOptions& dry_run = options->dry_run;
  CLI::Option* dry = command->add_flag("--dry-run", dry_run.asked,
                                       "Print placement, memory and traffic of every rank; start and write nothing");
  command->add_option("--ranks", dry_run.ranks, "With --dry-run: so many ranks (default: what parallel.* asks for)")
      ->check(CLI::Range(1, 1 << 14))
      ->needs(dry);
  command->add_option("--ranks-per-host", dry_run.ranks_per_host, "With --dry-run: ranks that share a host's memory")
      ->check(CLI::Range(1, 1 << 14))
      ->needs(dry);
  command->add_flag("--json", dry_run.json, "With --dry-run: the same for programs")->needs(dry);
  // --section.key=value reaches us as what the options above do not know.
  command->allow_extras();
  command->footer("Every setting can be given as --section.key=value, e.g. --run.steps=2000 --sparsity.density=1/64.");
  command->callback([command, options, &exit_code] {
    options->overrides = command->remaining();
    exit_code =
        options->dry_run.asked ? RunDryRun(options->config, options->overrides, options->dry_run) : RunTrain(*options);
  });
}

}  // namespace filigree::cli
