#ifndef FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_
#define FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/telemetry/display.h"
#include "worker/telemetry/read_log.h"
#include "worker/telemetry/records.h"
#include "worker/telemetry/z_score.h"

// The log of one run: DIR/steps.jsonl and what the user sees.
//
// File     One JSON object a line, appended and handed to the operating system record by record; Checkpoint and End
// also
//          reach the disk. A failed write leaves no part of its record behind; the record waits (with others, up to
//          kMostWaiting bytes, the oldest are given up first) and is written before the next one.
// Resume   Open drops what an earlier start wrote beyond `completed` (steps >= completed, other records > completed;
// all
//          of it when completed is 0), a torn last line and lines that are no record, so that no step stands in the log
//          twice. The window of the z-score is read back, so an interrupted run logs what an undisturbed one does,
//          times excepted.
// Owner    With `may_write` every record asks first, and an error of that is returned and nothing written. The log is
//          then a file of this start's own, put in the place of what was there: a process that was taken for dead and
//          still has the old one open writes into that, which has no name any more. Should it put its own in the place
//          of this one, that is put back with the next record.
// Errors   NotFound or PermissionDenied: the folder. ResourceExhausted and Unavailable: the disk; the record was shown
// to
//          the user all the same, and the run may go on.
// Threads  One at a time. Write evaluations, samples and snapshots before the checkpoint of the same step, so that a
//          resumed run has them.

namespace filigree::telemetry {

inline constexpr size_t kMostWaiting = 16 << 20;

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
  ~StepLog();
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
  int64_t damaged_lines() const { return damaged_lines_; }
  // The last step that the log holds; -1: none.
  int64_t last_step() const { return last_step_; }

 private:
  StepLog(const LogOptions& options, const std::string& path, int fd);
  absl::Status Append(const Record& record, bool to_disk);
  // Whether a record may be written, with the log in its place.
  absl::Status CheckOwner();
  void BoundWaiting();

  std::string path_;
  std::function<double()> clock_;
  int fd_;
  int64_t size_;         // bytes of whole records in the file
  std::string waiting_;  // whole lines that could not be written
  double started_;
  int64_t damaged_lines_ = 0;
  int64_t last_step_ = -1;
  std::function<absl::Status()> may_write_;
  ZScore z_score_;
  Display display_;
};

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_STEP_LOG_H_
