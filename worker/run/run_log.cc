#include "worker/run/run_log.h"

#include <cstdio>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/commit.h"

namespace filigree::train {

absl::Status RunLog::Open(const telemetry::LogOptions& options) {
  path_ = options.dir + "/" + telemetry::StepLog::kFileName;
  absl::StatusOr<std::unique_ptr<telemetry::StepLog>> opened = telemetry::StepLog::Open(options);
  if (!opened.ok()) return opened.status();
  log_ = *std::move(opened);
  return absl::OkStatus();
}

void RunLog::CatchUp(std::span<const telemetry::StepRecord> steps) {
  if (log_ == nullptr) return;
  for (const telemetry::StepRecord& step : steps) {
    if (step.step == log_->last_step() + 1) Warn(log_->Step(step));
  }
}

// The log is not worth ending a run for, but its reader should know; once is enough. stderr may be on the same full
// disk, and fmt::print would throw.
void RunLog::Warn(const absl::Status& status) {
  if (checkpoint::IsSuperseded(status)) {
    superseded_ = status;
    return;
  }
  if (status.ok() || failures_++ > 0) return;
  const std::string text = fmt::format("filigree: the log {} cannot be written: {}; training goes on\n", path_,
                                       std::string(status.message()));
  std::fputs(text.c_str(), stderr);
}

}  // namespace filigree::train
