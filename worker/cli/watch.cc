#include "worker/client/watch.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/real_in.h"

// filigree watch JOB: follows a job until it has ended.

namespace filigree::cli {
namespace {

struct WatchCommandOptions {
  ConnectOptions connect;
  std::string job;
  double patience = 60;
  bool json = false;
};

int RunWatch(const WatchCommandOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  client::WatchOptions watch;
  watch.job = options.job;
  watch.output = options.json ? client::WatchOutput::kJson : client::WatchOutput::kAuto;
  watch.patience = std::chrono::milliseconds(static_cast<int64_t>(options.patience * 1000));
  const auto state = client::Watch(*connection, watch);
  return state.ok() ? ExitCodeOfJob(*state) : Finish(state.status());
}

}  // namespace

void AddWatchCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("watch", "Follow a job until it has ended, or everything that happens");
  auto options = std::make_shared<WatchCommandOptions>();
  command->add_option("job", options->job, "The job; without it, everything is told, for ever");
  command->add_option("--patience", options->patience, "Seconds the coordinator may be away")
      ->check(RealIn(0, 1e6))
      ->capture_default_str();
  command->add_flag("--json", options->json, "A line of JSON each");
  AddConnectOptions(*command, options->connect);
  command->footer("Exit code: 0 the job is done, 1 it failed, 75 it was cancelled or drained.");
  command->callback([options, &exit_code] { exit_code = RunWatch(*options); });
}

}  // namespace filigree::cli
