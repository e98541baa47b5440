#include "worker/telemetry/step_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace filigree::telemetry {
namespace {

double SystemSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepLog>> StepLog::Open(const LogOptions& options) {
  absl::StatusOr<std::unique_ptr<LogFile>> file =
      LogFile::Open(options.dir + "/" + kFileName, options.completed, options.may_write);
  if (!file.ok()) return file.status();
  return std::unique_ptr<StepLog>(new StepLog(options, *std::move(file)));
}

StepLog::StepLog(const LogOptions& options, std::unique_ptr<LogFile> file)
    : clock_(options.clock ? options.clock : SystemSeconds),
      file_(std::move(file)),
      started_(clock_()),
      last_step_(file_->kept().last_step),
      display_(options.output, options.out, options.steps, options.completed, started_) {
  for (const double loss : file_->kept().losses) z_score_.Add(loss);
}

absl::Status StepLog::Run(RunRecord record) {
  record.started = started_;
  display_.Run(record);
  return Append(record, false);
}

absl::Status StepLog::Step(StepRecord record) {
  record.z_score = z_score_.Add(record.loss);
  display_.Step(record, clock_());
  last_step_ = std::max(last_step_, record.step);
  return Append(record, false);
}

absl::Status StepLog::Eval(const EvalRecord& record) {
  display_.Eval(record);
  return Append(record, false);
}

absl::Status StepLog::Sample(const SampleRecord& record) {
  display_.Sample(record);
  return Append(record, false);
}

absl::Status StepLog::Checkpoint(const CheckpointRecord& record) {
  display_.Checkpoint(record);
  return Append(record, true);
}

absl::Status StepLog::Snapshot(const SnapshotRecord& record) { return Append(record, false); }

absl::Status StepLog::Note(const NoteRecord& record) {
  display_.Note(record);
  return Append(record, false);
}

absl::Status StepLog::End(EndRecord record) {
  record.seconds = clock_() - started_;
  display_.End(record);
  return Append(record, true);
}

absl::Status StepLog::Append(const Record& record, bool to_disk) {
  return file_->Append(FormatRecord(record), to_disk);
}

}  // namespace filigree::telemetry
