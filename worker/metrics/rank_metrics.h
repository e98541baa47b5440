#ifndef FILIGREE_WORKER_METRICS_RANK_METRICS_H_
#define FILIGREE_WORKER_METRICS_RANK_METRICS_H_

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "proto/http/metrics_page.h"
#include "worker/metrics/one_writer.h"
#include "worker/telemetry/records.h"

// The metrics of a rank (families.h), kept up to date by what it logs: one object for as long as the process trains,
// whatever run of steps it is in.
//
// Threads: one that trains tells; any number of others read the page meanwhile. Telling of a step takes no lock.

namespace filigree::metrics {

class RunFigures;

// What the labels of filigree_run_info say.
struct RunInfo {
  std::string run_name, config_sha256;
  int dp = 1, tp = 1;
  double target_density = 1;
};

struct RankOptions {
  http::Build build;
  std::string run_id;
  int rank = 0;
  std::optional<RunInfo> run;     // on the rank that shows what belongs to the whole run
  std::function<double()> clock;  // seconds since 1970; empty: the system's
};

class RankMetrics {
 public:
  explicit RankMetrics(RankOptions options);
  ~RankMetrics();
  RankMetrics(const RankMetrics&) = delete;
  RankMetrics& operator=(const RankMetrics&) = delete;

  // What the log is told.
  void Run(const telemetry::RunRecord& record);
  void Step(const telemetry::StepRecord& record);
  void Eval(const telemetry::EvalRecord& record);
  void Snapshot(const telemetry::SnapshotRecord& record);
  void Checkpoint(const telemetry::CheckpointRecord& record);
  // And what it is told in words.
  void CheckpointFailed();
  void ReplicasDiffered();

  // For a PageServer.
  http::Page Page() const;

 private:
  // Bytes by direction.
  struct Bytes {
    Number sent, received;
  };
  void AddBytes(http::MetricsPage& page, const http::FamilyInfo& family, const char* op, const Bytes& bytes) const;
  http::Labels Own(http::Labels more = {}) const;  // run_id, rank, and more

  const RankOptions options_;
  Durations durations_;
  std::array<Number, telemetry::kPhases> phases_;
  Bytes gradients_, activations_, dense_;
  Number last_step_;
  std::unique_ptr<RunFigures> run_;  // null: somebody else shows them
};

}  // namespace filigree::metrics

#endif  // FILIGREE_WORKER_METRICS_RANK_METRICS_H_
