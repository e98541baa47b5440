#ifndef FILIGREE_WORKER_TRAIN_RUN_LOG_H_
#define FILIGREE_WORKER_TRAIN_RUN_LOG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "worker/telemetry/step_log.h"

// What a run says, of the rank that speaks: its log, whose failures are told once and end nothing. A rank that has not
// opened it says nothing.

namespace filigree::train {

class RunLog {
 public:
  absl::Status Open(const telemetry::LogOptions& options);

  void Run(telemetry::RunRecord record) { Write(&telemetry::StepLog::Run, std::move(record)); }
  void Step(telemetry::StepRecord record) { Write(&telemetry::StepLog::Step, std::move(record)); }
  void Eval(const telemetry::EvalRecord& record) { Write(&telemetry::StepLog::Eval, record); }
  void Sample(const telemetry::SampleRecord& record) { Write(&telemetry::StepLog::Sample, record); }
  void Checkpoint(const telemetry::CheckpointRecord& record) { Write(&telemetry::StepLog::Checkpoint, record); }
  void Snapshot(const telemetry::SnapshotRecord& record) { Write(&telemetry::StepLog::Snapshot, record); }
  void Note(const telemetry::NoteRecord& record) { Write(&telemetry::StepLog::Note, record); }
  void End(telemetry::EndRecord record) { Write(&telemetry::StepLog::End, std::move(record)); }

 private:
  template <typename Method, typename Record>
  void Write(Method method, Record&& record) {
    if (log_ != nullptr) Warn(((*log_).*method)(std::forward<Record>(record)));
  }
  void Warn(const absl::Status& status);

  std::unique_ptr<telemetry::StepLog> log_;
  std::string path_;
  int64_t failures_ = 0;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_RUN_LOG_H_
