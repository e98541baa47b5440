#ifndef FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_
#define FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/telemetry/display.h"
#include "worker/telemetry/log_file.h"
#include "worker/telemetry/read_log.h"
#include "worker/telemetry/records.h"
#include "worker/telemetry/z_score.h"

// The log of one run: DIR/steps.jsonl and what the user sees.
//
// File     One JSON object a line (log_file.h: what becomes of lines that cannot be written, and whose the file is);
//          Checkpoint and End also reach the disk.
// Resume   Open drops what an earlier start wrote beyond `completed` (steps >= completed, other records > completed;
//          all of it when completed is 0), a torn last line and lines that are no record, so that no step stands in the
//          log twice. The window of the z-score is read back, so an interrupted run logs what an undisturbed one does,
//          times excepted.
// Errors   NotFound or PermissionDenied: the folder. ResourceExhausted and Unavailable: the disk; the record was shown
//          to the user all the same, and the run may go on.
// Threads  One at a time. Write evaluations, samples and snapshots before the checkpoint of the same step, so that a
//          resumed run has them.

namespace filigree::telemetry {

struct LogOptions {
  std::string dir;        // exists
  int64_t steps = 0;      // S
  int64_t completed = 0;  // steps complete: 0, or where the run resumes
  Output output = Output::kAuto;
  std::FILE* out = stdout;        // where lines and the progress bar go
  std::function<double()> clock;  // seconds since 1970; empty: the system's
  // Does the folder still belong to this process? Empty: it does.
  std::function<absl::Status()> may_write;
};

class StepLog {
 public:
  static absl::StatusOr<std::unique_ptr<StepLog>> Open(const LogOptions& options);
  StepLog(const StepLog&) = delete;
  StepLog& operator=(const StepLog&) = delete;

  // The name of the log in a run folder.
  static constexpr const char* kFileName = "steps.jsonl";

  // z_score, started and seconds of the end are filled in here; what the caller put there is ignored.
  absl::Status Run(RunRecord record);
  absl::Status Step(StepRecord record);
  absl::Status Eval(const EvalRecord& record);
  absl::Status Sample(const SampleRecord& record);
  absl::Status Checkpoint(const CheckpointRecord& record);
  absl::Status Snapshot(const SnapshotRecord& record);
  absl::Status Note(const NoteRecord& record);
  absl::Status End(EndRecord record);

  // Lines of an earlier start that Open dropped because they were no record (a torn last line is none of them).
  int64_t damaged_lines() const { return file_->kept().damaged_lines; }
  // The last step that the log holds; -1: none.
  int64_t last_step() const { return last_step_; }

 private:
  StepLog(const LogOptions& options, std::unique_ptr<LogFile> file);
  absl::Status Append(const Record& record, bool to_disk);

  const std::function<double()> clock_;
  const std::unique_ptr<LogFile> file_;
  const double started_;
  int64_t last_step_;
  ZScore z_score_;
  Display display_;
};

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_
