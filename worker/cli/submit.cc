#include <memory>
#include <string>

#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/client/json.h"
#include "worker/client/names.h"
#include "worker/client/submission.h"
#include "worker/client/watch.h"

// filigree submit CONFIG: asks the coordinator for a training run.

namespace filigree::cli {
namespace {

struct SubmitOptions {
  ConnectOptions connect;
  client::Submission submission;
  bool watch = false, json = false;
};

int RunSubmit(const SubmitOptions& options) {
  const auto request = client::MakeSubmission(options.submission);
  if (!request.ok()) return Finish(request.status());
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  const auto reply = connection->Call(&v1::Coordinator::Stub::Submit, *request);
  if (!reply.ok()) return Finish(reply.status());
  // The name alone, so that JOB=$(filigree submit ...) works.
  if (options.json)
    Print("{}\n", client::LineOf({{"job", reply->job()}, {"repeated", reply->repeated()}}));
  else
    Print("{}\n", reply->job());
  if (reply->repeated()) Say("this key is known: nothing new was made");
  if (!options.watch) return kExitDone;
  client::WatchOptions watch;
  watch.job = reply->job();
  watch.output = options.json ? client::WatchOutput::kJson : client::WatchOutput::kAuto;
  const auto state = client::Watch(*connection, watch);
  return state.ok() ? ExitCodeOfJob(*state) : Finish(state.status());
}

void AddGridOptions(CLI::App& command, client::Submission& submission) {
  command.add_option("--data", submission.data, "Replicas (default: parallel.data)");
  command.add_option("--tensor", submission.tensor, "Ranks a replica, all on one host (default: parallel.tensor)");
  command.add_option("--min-data", submission.min_data,
                     "Go on with so few replicas when workers are lost (default: all)");
  command.add_option("--backend", submission.backend, "local, gloo or mpi (default: gloo)");
}

void AddQueueOptions(CLI::App& command, client::Submission& submission) {
  command.add_option("--priority", submission.priority, "-1000..1000, the higher the sooner (default: 0)");
  command.add_option("--restart-limit", submission.restart_limit,
                     "Restarts in a row that may pass without progress; -1: none at all (default: 3)");
  command.add_option("--queue-deadline", submission.queue_deadline, "Seconds to wait for workers (default: for ever)");
  command.add_option("--start-deadline", submission.start_deadline, "Seconds until all ranks run (default: 60)");
  command.add_option("--drain-deadline", submission.drain_deadline, "Seconds for a last checkpoint (default: 120)");
}

}  // namespace

void AddSubmitCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("submit", "Ask the coordinator for a training run; prints the job's name");
  auto options = std::make_shared<SubmitOptions>();
  command->add_option("config", options->submission.config, "TOML file of the run")->required();
  command->add_option("--name", options->submission.name, "The job is called NAME-NUMBER (default: run.name)");
  command->add_option("--key", options->submission.key,
                      "Submitting twice with one key makes one job (default: a new one)");
  AddGridOptions(*command, options->submission);
  AddQueueOptions(*command, options->submission);
  command->add_flag("--watch", options->watch, "Follow the job until it has ended");
  command->add_flag("--json", options->json, "Lines of JSON");
  AddConnectOptions(*command, options->connect);
  command->allow_extras();  // --section.key=value
  command->footer("Settings can be given as --section.key=value, e.g. --run.steps=2000.");
  command->callback([command, options, &exit_code] {
    options->submission.overrides = command->remaining();
    exit_code = RunSubmit(*options);
  });
}

}  // namespace filigree::cli
