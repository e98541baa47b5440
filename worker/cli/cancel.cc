#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"

// filigree cancel and filigree drain: end jobs at once or after a checkpoint, and empty workers.

namespace filigree::cli {
namespace {

using Stub = v1::Coordinator::Stub;

struct EndOptions {
  ConnectOptions connect;
  std::vector<std::string> jobs, workers;
};

// Asks for each of `names`; all of them, even where one is refused. The exit code is the first one's that was.
template <typename Ask>
void ForEach(const std::vector<std::string>& names, const char* done, int& exit_code, Ask ask) {
  for (const std::string& name : names) {
    const absl::Status status = ask(name);
    if (status.ok()) Print("{}: {}\n", name, done);
    const int code = Finish(status);
    if (exit_code == kExitDone) exit_code = code;
  }
}

int RunCancel(const EndOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  int exit_code = kExitDone;
  ForEach(options.jobs, "will be cancelled", exit_code, [&](const std::string& job) {
    v1::CancelRequest request;
    request.set_job(job);
    return connection->Call(&Stub::Cancel, request).status();
  });
  return exit_code;
}

int RunDrain(const EndOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  int exit_code = kExitDone;
  ForEach(options.jobs, "ends after a checkpoint", exit_code, [&](const std::string& job) {
    v1::DrainRequest request;
    request.set_job(job);
    return connection->Call(&Stub::Drain, request).status();
  });
  ForEach(options.workers, "gets no more ranks", exit_code, [&](const std::string& worker) {
    v1::DrainRequest request;
    request.set_worker(worker);
    return connection->Call(&Stub::Drain, request).status();
  });
  return exit_code;
}

}  // namespace

void AddCancelCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("cancel", "End jobs at once, without a checkpoint");
  auto options = std::make_shared<EndOptions>();
  command->add_option("jobs", options->jobs, "The jobs")->required();
  AddConnectOptions(*command, options->connect);
  command->callback([options, &exit_code] { exit_code = RunCancel(*options); });
}

void AddDrainCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("drain", "End jobs after a checkpoint, or empty workers");
  auto options = std::make_shared<EndOptions>();
  auto* jobs = command->add_option("jobs", options->jobs, "The jobs");
  auto* workers = command->add_option("--worker", options->workers, "A worker: its jobs move elsewhere");
  AddConnectOptions(*command, options->connect);
  command->callback([options, jobs, workers, &exit_code] {
    if (jobs->count() + workers->count() == 0) throw CLI::RequiredError("a job or --worker");
    exit_code = RunDrain(*options);
  });
}

}  // namespace filigree::cli
