#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/attach/agent_link.h"
#include "worker/cli/command.h"
#include "worker/cli/dry_run.h"
#include "worker/cli/out_of_memory.h"
#include "worker/cli/own_coordinator.h"
#include "worker/cli/print.h"
#include "worker/cli/train_in_world.h"
#include "worker/cli/train_under_agent.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/generations.h"
#include "worker/parallel/launch.h"
#include "worker/parallel/store_membership.h"
#include "worker/parallel/watchdog.h"
#include "worker/parallel/world.h"
#include "worker/run/open_run.h"
#include "worker/run/stop.h"

namespace filigree::cli {
namespace {

struct TrainOptions {
  std::string config;
  std::vector<std::string> overrides;
  bool quiet = false;
  DryRunOptions dry_run;
};

// This process's number among those that a launcher started, from its environment: for the time before they have met.
int LaunchedRank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* text = std::getenv(name); text != nullptr) return std::atoi(text);
  }
  return 0;
}

constexpr int kUnknownSpeaker = parallel::Watchdog::kUnknownSpeaker;

// One rank says that another is lost, and ends the job: the others leave it the time to end them, and speak only where
// it does not. Where nobody knows who is left they do so in the order of ranks.
int EndLostJob(const parallel::World& world, const absl::Status& status, int speaker) {
  constexpr auto kOfOneRank = std::chrono::milliseconds(1000), kOfTheSpeaker = std::chrono::milliseconds(5000);
  const auto in_turn = kOfOneRank * world.rank();
  if (speaker != world.rank() && comm::UnderMpi()) {  // without MPI nobody ends the others, who all say it
    std::this_thread::sleep_for(speaker == kUnknownSpeaker ? in_turn : kOfTheSpeaker + in_turn);
  }
  Say("rank {}: {}; go on from the last checkpoint with the same command", world.rank(), std::string(status.message()));
  if (comm::UnderMpi()) comm::AbortMpi(kExitRankLost);
  return kExitRankLost;
}

// Ranks of a launcher that ends all of them when one is lost, or one process.
int TrainOnce(const TrainOptions& options, const absl::StatusOr<config::Settings>& settings) {
  absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Open(settings);
  if (!world.ok()) {
    // Ranks that could not even meet all say so; where they did, it is the same sentence.
    return LaunchedRank() == 0 ? Finish(world.status()) : ExitCodeOf(world.status());
  }
  const auto on_failure = [&](const std::string& report, int speaker) {
    std::exit(EndLostJob(**world, absl::UnavailableError(report), speaker));
  };
  std::atomic<bool> over{false};
  HeldRun run;
  Surroundings surroundings;
  surroundings.quiet = options.quiet;
  surroundings.on_failure = on_failure;
  surroundings.stop_requested = train::StopRequested;
  const absl::StatusOr<std::unique_ptr<OwnCoordinator>> own = OwnCoordinator::Start(*settings, **world);
  if (!own.ok()) return (*world)->first() ? Finish(own.status()) : ExitCodeOf(own.status());
  if (*own != nullptr) (*own)->Join(surroundings);
  const parallel::Outcome outcome = TrainInWorld(surroundings, *settings, **world, over, run);
  const int exit_code = outcome.lost.ok() ? outcome.exit_code : EndLostJob(**world, outcome.lost, kUnknownSpeaker);
  if (*own != nullptr) (*own)->End(exit_code, outcome.reason);
  return exit_code;
}

// Ranks that meet through a store: those who are left after a loss go on in the same processes.
int TrainInGenerations(const TrainOptions& options, const absl::StatusOr<config::Settings>& settings) {
  if (settings.ok() && !settings->telemetry.serve.empty())
    return Finish(absl::InvalidArgumentError(
        "telemetry.serve: ranks that meet through a folder have no coordinator of their own, since any of them may be "
        "lost; leave it out, or submit the run to filigree coordinator"));
  const auto tell = [](const std::string& text) { Say("{}", text); };
  HeldRun run;
  parallel::StoreMembershipOptions members;
  members.stop_requested = train::StopRequested;
  members.idles = [&](const std::string& text) {
    run = nullptr;  // others go on with it
    tell(text);
  };
  const double stuck_after = settings.ok() ? settings->parallel.stuck_after : 0;
  members.grace += std::chrono::milliseconds(static_cast<int64_t>(2e3 * stuck_after));
  const absl::StatusOr<std::unique_ptr<parallel::Membership>> membership =
      parallel::OpenStoreMembership(settings, members);
  if (!membership.ok()) return Finish(membership.status());
  const auto work = [&](parallel::World& world, const parallel::Generation& generation) {
    std::atomic<bool> over{false};
    Surroundings surroundings;
    surroundings.quiet = options.quiet;
    surroundings.first_start = generation.first;
    surroundings.on_failure = [&](const std::string& report, int) {
      if (settings->parallel.elastic) (*membership)->Announce(generation);
      world.Abort(absl::UnavailableError(report));
      EndUnless(over, world);
    };
    // It would be counted among those that are left, who would then wait for it; and what it holds is to be free.
    surroundings.on_stuck = [&](const std::string& report, int) {
      tell(report);
      std::_Exit(kExitRankLost);
    };
    surroundings.stop_requested = train::StopRequested;
    parallel::Outcome outcome = TrainInWorld(surroundings, *settings, world, over, run);
    const bool others_go_on = settings->parallel.elastic && !LossOf(world).ok();
    if (outcome.lost.ok() || others_go_on) return outcome;
    return parallel::Outcome{EndLostJob(world, outcome.lost, kUnknownSpeaker)};
  };
  const absl::StatusOr<int> exit_code = parallel::RunGenerations(settings, **membership, work, tell);
  if (exit_code.ok()) return *exit_code;
  // Who does not meet the others speaks for itself.
  const int failed = Finish(exit_code.status());
  const bool lost = absl::IsAborted(exit_code.status()) || absl::IsDeadlineExceeded(exit_code.status());
  return lost ? kExitRankLost : failed;
}

int RunTrain(const TrainOptions& options) {
  EndWhereMemoryIsRefused();
  train::CatchStopSignals();
  const absl::StatusOr<config::Settings> settings = train::WantedSettings(options.config, options.overrides);
  if (attach::StartedByAgent(std::getenv)) return TrainUnderAgent(options.quiet, settings);
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
