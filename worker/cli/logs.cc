#include "worker/client/logs.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/cli/real_in.h"

// filigree logs JOB: what its ranks have printed.

namespace filigree::cli {
namespace {

struct LogsCommandOptions {
  ConnectOptions connect;
  client::LogOptions logs;
  double patience = 60;
};

int RunLogs(LogsCommandOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  options.logs.patience = std::chrono::milliseconds(static_cast<int64_t>(options.patience * 1000));
  const auto lines = client::ReadLogs(*connection, options.logs);
  if (!lines.ok()) return Finish(lines.status());
  const client::LogOptions& logs = options.logs;
  const bool narrowed = logs.rank.has_value() || logs.generation.has_value() || logs.tail_lines.has_value();
  if (*lines == 0)
    Print(stderr,
          "nothing that job {} printed is kept here{}; what is kept is forgotten with the coordinator's process\n",
          logs.job, narrowed ? " of what was asked for (rank, generation, tail)" : "");
  return kExitDone;
}

}  // namespace

void AddLogsCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("logs", "What the ranks of a job have printed, the last of it");
  auto options = std::make_shared<LogsCommandOptions>();
  client::LogOptions& logs = options->logs;
  command->add_option("job", logs.job, "The job")->required();
  command->add_option("--rank", logs.rank, "Of this rank alone")->check(CLI::Range(0, 65'535));
  command->add_option("--generation", logs.generation, "Of this generation alone")
      ->check(CLI::Range(int64_t{1}, INT64_MAX));
  auto* tail = command->add_option("--tail", logs.tail_lines, "The last so many lines alone")
                   ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}));
  command->add_option("--tail-bytes", logs.tail_bytes, "Of each rank the last so many bytes alone")
      ->check(CLI::Range(int64_t{1}, INT64_MAX))
      ->excludes(tail);
  command->add_flag("--follow", logs.follow, "Go on with what is printed from now on, until the job has ended");
  command->add_option("--patience", options->patience, "Seconds the coordinator may be away while following")
      ->check(RealIn(0, 1e6))
      ->capture_default_str();
  command->add_flag("--json", logs.json, "A line of JSON each");
  AddConnectOptions(*command, options->connect);
  command->callback([options, &exit_code] { exit_code = RunLogs(*options); });
}

}  // namespace filigree::cli
