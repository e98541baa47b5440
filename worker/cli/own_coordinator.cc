#include "worker/cli/own_coordinator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "filigree/v1/agent.pb.h"
#include "fmt/format.h"
#include "proto/contract/ids.h"
#include "worker/attach/report.h"
#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/comm/host_name.h"
#include "worker/comm/mpi.h"
#include "worker/config/load.h"

namespace filigree::cli {
namespace {

// The run's name, or the machine's, as coordinators take one.
std::string AsId(std::string name, size_t most) {
  name.resize(std::min(name.size(), most));
  for (char& c : name)
    if (!contract::IsId(std::string(1, c))) c = '-';
  return name.empty() ? "run" : name;
}

embed::OwnJob::Options JobOf(const config::Settings& settings, const parallel::World& world) {
  embed::OwnJob::Options options;
  options.listen = settings.telemetry.serve;
  options.host = AsId(comm::HostName(), contract::kMaxIdBytes);
  options.spec.name = AsId(settings.run.name, contract::kMaxJobNameBytes);
  options.spec.config = config::ToToml(settings);
  options.spec.data = options.spec.min_data = world.grid().data;
  options.spec.tensor = world.grid().tensor;
  options.spec.backend = world.size() > 1 ? contract::Backend::kMpi : contract::Backend::kLocal;
  options.spec.restart_limit = contract::kNoRestart;  // who started the run starts it again
  options.spec.deadlines.start = 0;
  return options;
}

// At once and without a checkpoint, all ranks of it.
void EndCancelled() {
  Say("cancelled on request; go on from the last checkpoint with the same command");
  std::fflush(nullptr);
  if (comm::UnderMpi()) comm::AbortMpi(kExitStopped);
  std::_Exit(kExitStopped);
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnCoordinator>> OwnCoordinator::Start(const config::Settings& settings,
                                                                      parallel::World& world) {
  // Before anything hangs on it: ranks that were started with other settings would not come.
  if (absl::Status same = world.Compare({{"telemetry.serve", settings.telemetry.serve}}); !same.ok()) return same;
  if (settings.telemetry.serve.empty()) return nullptr;
  std::unique_ptr<OwnCoordinator> own(new OwnCoordinator());
  absl::Status mine;
  if (world.first()) {
    QuietGrpc();
    auto job = embed::OwnJob::Start(JobOf(settings, world));
    if (job.ok())
      own->job_ = *std::move(job);
    else
      mine = absl::Status(job.status().code(), fmt::format("telemetry.serve: {}", std::string(job.status().message())));
  }
  if (absl::Status status = world.Agree(mine); !status.ok()) return status;
  embed::Gathering::Options gathering;
  gathering.tell = [raw = own.get()] { return raw->Tell(); };
  if (world.first()) gathering.hear = [raw = own.get()](const auto& reports) { raw->Hear(reports); };
  auto started = embed::Gathering::Start(world, std::move(gathering));
  if (!started.ok()) return started.status();
  own->gathering_ = *std::move(started);
  if (world.first())
    Print("This run is job {} of its own coordinator on {}: filigree watch --coordinator {}\n", own->job_->job(),
          own->job_->server().address(), own->job_->server().address());
  return own;
}

void OwnCoordinator::Join(Surroundings& surroundings) {
  surroundings.stop_requested = [this, before = std::move(surroundings.stop_requested)] {
    return (before && before()) || (job_ != nullptr && job_->Drained());
  };
  surroundings.metrics = [this](const ShownMetrics& shown) {
    const std::lock_guard lock(mutex_);
    metrics_ = shown.metrics;
    address_ = shown.address;
  };
}

std::string OwnCoordinator::Tell() {
  const std::lock_guard lock(mutex_);
  v1::TellRequest report;
  report.set_state(v1::RANK_STATE_STARTING);
  if (metrics_ != nullptr) report = attach::ReportOf(metrics_->Read());
  report.set_metrics_address(address_);
  return report.SerializeAsString();
}

void OwnCoordinator::Hear(const std::vector<std::string>& reports) {
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    v1::TellRequest report;
    if (report.ParseFromString(reports[rank])) job_->Hear(static_cast<int>(rank), report);
  }
  if (!job_->Cancelled()) return;
  job_->End(v1::RANK_STATE_STOPPED, "");
  EndCancelled();
}

void OwnCoordinator::End(int exit_code, const std::string& reason) {
  gathering_ = nullptr;
  if (job_ == nullptr) return;
  const v1::RankState state = exit_code == kExitDone      ? v1::RANK_STATE_FINISHED
                              : exit_code == kExitStopped ? v1::RANK_STATE_STOPPED
                                                          : v1::RANK_STATE_FAILED;
  job_->End(state, state == v1::RANK_STATE_FAILED ? reason : "");
}

}  // namespace filigree::cli
