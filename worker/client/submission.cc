#include "worker/client/submission.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>

#include "proto/contract/ids.h"
#include "proto/contract/job_spec.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/job_spec.h"
#include "worker/config/load.h"
#include "worker/parallel/grid.h"

namespace filigree::client {
namespace {

absl::Status Before(const std::string& config, const absl::Status& status) {
  return absl::Status(status.code(), fmt::format("{}: {}", config, std::string(status.message())));
}

std::string RandomKey() {
  std::random_device device;
  return fmt::format("cli-{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

absl::Status SetBackend(const std::string& name, contract::JobSpec& spec) {
  if (name.empty()) return absl::OkStatus();
  if (name == contract::Name(contract::Backend::kNccl))
    return absl::InvalidArgumentError("--backend nccl needs GPUs, which this program does not use; take gloo or mpi");
  for (const auto backend : {contract::Backend::kLocal, contract::Backend::kGloo, contract::Backend::kMpi})
    if (name == contract::Name(backend)) {
      spec.backend = backend;
      return absl::OkStatus();
    }
  return absl::InvalidArgumentError(fmt::format(
      "--backend: {} is none; expected gloo, mpi or local, and gloo where it is left out", contract::Shown(name)));
}

void SetGrid(const Submission& submission, const config::Settings& settings, contract::JobSpec& spec) {
  spec.data = submission.data.value_or(static_cast<int32_t>(std::max<int64_t>(settings.parallel.data, 1)));
  spec.tensor = submission.tensor.value_or(static_cast<int32_t>(settings.parallel.tensor));
  spec.min_data = submission.min_data.value_or(spec.data);
}

// One process trains with backend local, and the first generation would fail for it.
absl::Status CheckBackend(const contract::JobSpec& spec) {
  const int64_t ranks = int64_t{spec.data} * spec.tensor;
  if (spec.backend != contract::Backend::kLocal || ranks <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("--backend local is one process, and data {} x tensor {} are {} ranks; take --backend gloo, or mpi "
                  "where one worker has room for all of them",
                  spec.data, spec.tensor, ranks));
}

// Whether the run can be cut like that: the first generation would find out, and each after it.
absl::Status CheckGrid(config::Settings settings, const contract::JobSpec& spec) {
  settings.parallel.data = spec.data;
  settings.parallel.tensor = spec.tensor;
  const int64_t ranks = int64_t{spec.data} * spec.tensor;
  if (spec.data < 1 || spec.tensor < 1 || ranks > INT32_MAX) return absl::OkStatus();  // contract::Validate says it
  return parallel::FitGrid(settings, static_cast<int>(ranks)).status();
}

}  // namespace

absl::StatusOr<v1::SubmitRequest> MakeSubmission(const Submission& submission) {
  const auto text = rpc::ReadCredentialFile(submission.config, false);  // at most 1 MiB, and a file
  if (!text.ok()) return text.status();
  const auto settings = config::Parse(*text, submission.config, submission.overrides);
  if (!settings.ok()) return settings.status();
  if (absl::Status status = config::RequirePaths(*settings); !status.ok()) return Before(submission.config, status);
  contract::JobSpec spec;
  spec.name = submission.name.empty() ? settings->run.name : submission.name;
  spec.config = *text;
  spec.arguments = submission.overrides;
  for (std::string& argument : spec.arguments)
    if (argument.substr(0, 2) != "--") argument = "--" + argument;
  SetGrid(submission, *settings, spec);
  if (absl::Status status = SetBackend(submission.backend, spec); !status.ok()) return status;
  for (const absl::Status& status : {CheckBackend(spec), CheckGrid(*settings, spec)})
    if (!status.ok()) return Before(submission.config, status);
  spec.priority = submission.priority.value_or(spec.priority);
  spec.restart_limit = submission.restart_limit.value_or(spec.restart_limit);
  spec.deadlines.queue = submission.queue_deadline.value_or(spec.deadlines.queue);
  spec.deadlines.start = submission.start_deadline.value_or(spec.deadlines.start);
  spec.deadlines.drain = submission.drain_deadline.value_or(spec.deadlines.drain);
  spec.idempotency_key = submission.key.empty() ? RandomKey() : submission.key;
  if (absl::Status status = contract::Validate(spec); !status.ok())
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", submission.config,
                    spec.name.empty() ? "the job has no name; give one with --name" : std::string(status.message())));
  v1::SubmitRequest request;
  *request.mutable_spec() = rpc::ToWire(spec);
  return request;
}

}  // namespace filigree::client
