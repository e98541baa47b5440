#ifndef FILIGREE_WORKER_METRICS_RUN_FIGURES_H_
#define FILIGREE_WORKER_METRICS_RUN_FIGURES_H_

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "proto/http/metrics_page.h"
#include "worker/metrics/one_writer.h"
#include "worker/metrics/rank_metrics.h"
#include "worker/telemetry/records.h"

// What belongs to all ranks of a run. Threads: as RankMetrics.

namespace filigree::metrics {

class RunFigures {
 public:
  RunFigures(std::string run_id, const RunInfo& info);

  void Run(const telemetry::RunRecord& record);
  void Step(const telemetry::StepRecord& record);
  void Eval(const telemetry::EvalRecord& record);
  void Snapshot(const telemetry::SnapshotRecord& record);
  void CheckpointAt(double seconds) { last_checkpoint_.Set(seconds); }
  void CheckpointFailed() { checkpoint_failures_.Add(1); }
  void ReplicasDiffered() { mask_mismatches_.Add(1); }

  void AddTo(http::MetricsPage& page) const;
  RunReading Read() const;

 private:
  void AddMatrices(http::MetricsPage& page, const std::vector<MatrixReading>& matrices) const;
  http::Labels Own(http::Labels more = {}) const;  // run_id, and more

  const std::string run_id_;
  const RunInfo info_;
  // What no step or evaluation has told yet is not shown: 0 would be a value.
  std::atomic<bool> stepped_ = false, evaluated_ = false;
  Number step_, target_steps_, learning_rate_, gradient_norm_, train_loss_, val_loss_, tokens_, density_;
  Number mask_mismatches_, skipped_steps_, last_checkpoint_, checkpoint_failures_;
  double tokens_per_step_ = 0;  // of the thread that trains
  // Between evaluations only: held for microseconds by whoever reads.
  mutable std::mutex mutex_;
  telemetry::SnapshotRecord snapshot_;  // guarded by mutex_
};

}  // namespace filigree::metrics

#endif  // FILIGREE_WORKER_METRICS_RUN_FIGURES_H_
