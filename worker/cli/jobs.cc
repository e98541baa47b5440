#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/client/json.h"
#include "worker/client/tables.h"

// filigree jobs: the queue, one job, or the workers.

namespace filigree::cli {
namespace {

using Stub = v1::Coordinator::Stub;

struct JobsOptions {
  ConnectOptions connect;
  std::string job;
  bool all = false, workers = false, json = false;
};

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

int ShowJob(const client::Connection& connection, const JobsOptions& options) {
  v1::GetRequest request;
  request.set_job(options.job);
  const auto job = connection.Call(&Stub::Get, request);
  if (!job.ok()) return Finish(job.status());
  if (options.json)
    Print("{}\n", client::LineOf(client::JsonOf(*job)));
  else
    Print("{}", client::JobDetails(*job, Now()));
  return kExitDone;
}

int ListJobs(const client::Connection& connection, const JobsOptions& options) {
  v1::ListRequest request;
  request.set_ended(options.all);
  request.set_limit(500);
  std::vector<v1::Job> jobs;
  for (bool more = true; more;) {
    const auto page = connection.Call(&Stub::List, request);
    if (!page.ok()) return Finish(page.status());
    jobs.insert(jobs.end(), page->jobs().begin(), page->jobs().end());
    more = page->more() && page->jobs_size() > 0;
    if (more) request.set_before_number(jobs.back().number());
  }
  if (!options.json && jobs.empty())
    Print("no jobs{}\n", options.all ? "" : "; --all shows those that have ended");
  else if (!options.json)
    Print("{}", client::JobTable(jobs, Now()));
  else
    for (const v1::Job& job : jobs) Print("{}\n", client::LineOf(client::JsonOf(job)));
  return kExitDone;
}

int ListWorkers(const client::Connection& connection, const JobsOptions& options) {
  v1::ListWorkersRequest request;
  request.set_gone(options.all);
  request.set_limit(1000);
  std::vector<v1::Worker> workers;
  for (bool more = true; more;) {
    const auto page = connection.Call(&Stub::ListWorkers, request);
    if (!page.ok()) return Finish(page.status());
    workers.insert(workers.end(), page->workers().begin(), page->workers().end());
    more = page->more() && page->workers_size() > 0;
    if (more) request.set_after(workers.back().name());
  }
  if (!options.json && workers.empty())
    Print("no workers{}\n", options.all ? "" : "; --all shows those that are gone");
  else if (!options.json)
    Print("{}", client::WorkerTable(workers));
  else
    for (const v1::Worker& worker : workers) Print("{}\n", client::LineOf(client::JsonOf(worker)));
  return kExitDone;
}

}  // namespace

void AddJobsCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("jobs", "Jobs of the coordinator, one of them in detail, or its workers");
  auto options = std::make_shared<JobsOptions>();
  command->add_option("job", options->job, "Show this job: ranks, times of a step, who is slow");
  command->add_flag("--all", options->all, "Also jobs that have ended, or workers that are gone");
  command->add_flag("--workers", options->workers, "Workers instead of jobs");
  command->add_flag("--json", options->json, "A line of JSON each");
  AddConnectOptions(*command, options->connect);
  command->callback([options, &exit_code] {
    const auto connection = Connect(options->connect);
    if (!connection.ok())
      exit_code = Finish(connection.status());
    else if (!options->job.empty())
      exit_code = ShowJob(*connection, *options);
    else
      exit_code = options->workers ? ListWorkers(*connection, *options) : ListJobs(*connection, *options);
  });
}

}  // namespace filigree::cli
