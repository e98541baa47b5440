#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/client/names.h"
#include "worker/telemetry/display.h"

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
void ForEach(const std::vector<std::string>& names, int& exit_code, Ask ask) {
  for (const std::string& name : names) {
    const absl::StatusOr<std::string> done = ask(name);
    const absl::Status& status = done.status();
    if (status.ok()) Print("{}: {}\n", name, *done);
    const int code = Finish(status);
    if (exit_code == kExitDone) exit_code = code;
  }
}

// What has become of a job that was to end: `will`, or that it had ended, or was ending otherwise, before.
std::string WhatBecame(const client::Connection& connection, const std::string& job, const std::string& reason,
                       const char* will) {
  v1::GetRequest request;
  request.set_job(job);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  v1::Job now;
  // It was taken: whoever cannot be asked just now (a run's own coordinator is gone with it) says no more.
  if (!connection.stub().Get(&context, request, &now).ok()) return will;
  if (now.state() == v1::JOB_STATE_DRAINING && now.reason() == reason) return will;
  return fmt::format("{}: {}", client::NameOf(now.state()), telemetry::Printable(now.reason()));
}

int RunCancel(const EndOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  int exit_code = kExitDone;
  ForEach(options.jobs, exit_code, [&](const std::string& job) -> absl::StatusOr<std::string> {
    v1::CancelRequest request;
    request.set_job(job);
    if (absl::Status status = connection->Call(&Stub::Cancel, request).status(); !status.ok()) return status;
    return WhatBecame(*connection, job, "cancelled on request", "will be cancelled");
  });
  return exit_code;
}

int RunDrain(const EndOptions& options) {
  const auto connection = Connect(options.connect);
  if (!connection.ok()) return Finish(connection.status());
  int exit_code = kExitDone;
  ForEach(options.jobs, exit_code, [&](const std::string& job) -> absl::StatusOr<std::string> {
    v1::DrainRequest request;
    request.set_job(job);
    if (absl::Status status = connection->Call(&Stub::Drain, request).status(); !status.ok()) return status;
    return WhatBecame(*connection, job, "drained on request", "ends after a checkpoint");
  });
  ForEach(options.workers, exit_code, [&](const std::string& worker) -> absl::StatusOr<std::string> {
    v1::DrainRequest request;
    request.set_worker(worker);
    if (absl::Status status = connection->Call(&Stub::Drain, request).status(); !status.ok()) return status;
    return std::string("gets no more ranks");
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
