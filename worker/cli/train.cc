#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/config/load.h"
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
};

int RunTrain(const TrainOptions& options) {
  train::CatchStopSignals();
  absl::StatusOr<train::OpenedRun> run = train::OpenRun(options.config, options.overrides);
  if (!run.ok()) return Finish(run.status());
  if (!options.quiet) Print("{}\n", config::ToToml(run->settings));
  if (run->state->step >= run->settings.run.steps) {
    Print("The run in {} is complete: {} of {} steps.\n", run->settings.run.dir, run->state->step,
          run->settings.run.steps);
    return kExitDone;
  }
  train::TrainerOptions trainer_options;
  trainer_options.output = options.quiet ? telemetry::Output::kQuiet : telemetry::Output::kAuto;
  trainer_options.revision = "filigree " FILIGREE_VERSION " " FILIGREE_REVISION;
  trainer_options.stop_requested = train::StopRequested;
  trainer_options.file_system = &train::FaultyFileSystem();
  train::Trainer trainer(*run, trainer_options);
  const absl::StatusOr<train::RunEnd> end = trainer.Run();
  if (!end.ok()) return Finish(end.status());
  if (*end == train::RunEnd::kDone) return kExitDone;
  Print("Stopped at step {}; go on with: filigree train {}\n", run->state->step, run->settings.run.dir);
  return kExitStopped;
}

}  // namespace

void AddTrainCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("train", "Train a model, or go on with a run");
  auto options = std::make_shared<TrainOptions>();
  command->add_option("config", options->config, "TOML file of a new run, or the folder of a run to go on with")
      ->required();
  command->add_flag("--quiet", options->quiet, "Only evaluations, notes and the end");
  // --section.key=value reaches us as what the options above do not know.
  command->allow_extras();
  command->footer("Every setting can be given as --section.key=value, e.g. --run.steps=2000 --sparsity.density=1/64.");
  command->callback([command, options, &exit_code] {
    options->overrides = command->remaining();
    exit_code = RunTrain(*options);
  });
}

}  // namespace filigree::cli
