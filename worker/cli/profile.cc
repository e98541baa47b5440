#include "worker/profile/profile.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/profile/profile_text.h"

// filigree profile RUN_OR_CONFIG [--steps N] [--warmup N] [--out FILE] [--json]: where the time of a step goes.

namespace filigree::cli {
namespace {

struct Options {
  train::ProfileOptions profile;
  std::string out = "trace.json";
  bool json = false;
};

absl::Status RunProfile(const Options& options) {
  if (absl::Status status = train::CheckTracePath(options.out); !status.ok()) return status;
  const absl::StatusOr<train::Profile> profile = train::ProfileRun(options.profile);
  if (!profile.ok()) return profile.status();
  for (const std::string& note : profile->notes) Say("note: {}", note);
  Print("{}", options.json ? FormatJson(*profile) : FormatTable(*profile));
  if (absl::Status status = WriteChromeTrace(*profile, options.out); !status.ok()) return status;
  if (!options.json)
    Print("\nEvery kernel: {} (open it in https://ui.perfetto.dev or chrome://tracing)\n", options.out);
  return absl::OkStatus();
}

}  // namespace

void AddProfileCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("profile", "Show where the time of a training step goes, kernel by kernel");
  auto options = std::make_shared<Options>();
  command
      ->add_option("config", options->profile.config,
                   "TOML file of a run, profiled from its beginning, or the folder of one, profiled where it stands")
      ->required();
  command->add_option("--steps", options->profile.steps, "Steps on record")->capture_default_str();
  command->add_option("--warmup", options->profile.warmup, "Steps before them")->capture_default_str();
  command->add_option("--out", options->out, "The Chrome trace to write")->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object a line in place of the table");
  // --section.key=value reaches us as what the options above do not know.
  command->allow_extras();
  command->footer("Nothing is written into the run's folder. Every setting can be given as --section.key=value.");
  command->callback([command, options, &exit_code] {
    options->profile.overrides = command->remaining();
    exit_code = Finish(RunProfile(*options));
  });
}

}  // namespace filigree::cli
