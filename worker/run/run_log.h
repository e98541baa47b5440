#ifndef FILIGREE_WORKER_RUN_RUN_LOG_H_
#define FILIGREE_WORKER_RUN_RUN_LOG_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "worker/metrics/rank_metrics.h"
#include "worker/telemetry/step_log.h"

// What a run says: on the rank that speaks to its log, whose failures are told once and end nothing, and on every rank
// to its metrics. A rank that has opened no log and shows no metrics says nothing.

namespace filigree::train {

class RunLog {
 public:
  absl::Status Open(const telemetry::LogOptions& options);
  // Steps that the log lacks: its writer was lost before it had written them. Shown to nobody but its readers.
  void CatchUp(std::span<const telemetry::StepRecord> steps);
  // IsSuperseded: the run folder belongs to a later generation, nothing is written any more; OK: as far as is known.
  const absl::Status& superseded() const { return superseded_; }
  void Show(metrics::RankMetrics* metrics) { metrics_ = metrics; }  // borrowed; null: none

  void Run(telemetry::RunRecord record) {
    if (metrics_ != nullptr) metrics_->Run(record);
    Write(&telemetry::StepLog::Run, std::move(record));
  }
  void Step(telemetry::StepRecord record) {
    if (metrics_ != nullptr) metrics_->Step(record);
    Write(&telemetry::StepLog::Step, std::move(record));
  }
  void Eval(const telemetry::EvalRecord& record) {
    if (metrics_ != nullptr) metrics_->Eval(record);
    Write(&telemetry::StepLog::Eval, record);
  }
  void Sample(const telemetry::SampleRecord& record) { Write(&telemetry::StepLog::Sample, record); }
  void Checkpoint(const telemetry::CheckpointRecord& record) {
    if (metrics_ != nullptr) metrics_->Checkpoint(record);
    Write(&telemetry::StepLog::Checkpoint, record);
  }
  void Snapshot(const telemetry::SnapshotRecord& record) {
    if (metrics_ != nullptr) metrics_->Snapshot(record);
    Write(&telemetry::StepLog::Snapshot, record);
  }
  void Note(const telemetry::NoteRecord& record) { Write(&telemetry::StepLog::Note, record); }
  void End(telemetry::EndRecord record) { Write(&telemetry::StepLog::End, std::move(record)); }

 private:
  template <typename Method, typename Record>
  void Write(Method method, Record&& record) {
    if (log_ != nullptr) Warn(((*log_).*method)(std::forward<Record>(record)));
  }
  void Warn(const absl::Status& status);

  std::unique_ptr<telemetry::StepLog> log_;
  metrics::RankMetrics* metrics_ = nullptr;
  std::string path_;
  int64_t failures_ = 0;
  absl::Status superseded_;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_RUN_LOG_H_
