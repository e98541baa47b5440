#ifndef FILIGREE_WORKER_METRICS_RANK_METRICS_H_
#define FILIGREE_WORKER_METRICS_RANK_METRICS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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
  std::optional<RunInfo> run;     // on the rank that knows what belongs to the whole run
  bool shows_run = true;          // false: somebody else shows that
  std::function<double()> clock;  // seconds since 1970; empty: the system's
};

// The same numbers for whoever passes them on. Sums are those of the object.
struct MatrixReading {
  int64_t layer = -1;  // -1: belongs to none
  std::string kind;
  double density = 0, threshold = 0;
};
struct RunReading {
  int64_t target_steps = 0;
  std::optional<double> learning_rate, gradient_norm, train_loss, val_loss, density;  // absent: not told yet
  double target_density = 0;
  int64_t tokens = 0, mask_mismatches = 0, skipped_steps = 0, checkpoint_failures = 0;
  double last_checkpoint = 0;  // seconds since 1970; 0: none
  std::string config_sha256;
  std::vector<MatrixReading> matrices;  // at the last evaluation
};
struct RankReading {
  bool opened = false;  // the run is: steps follow
  int64_t step = 0;     // complete
  std::array<double, telemetry::kPhases> phase_seconds{};
  int64_t sent_bytes = 0, received_bytes = 0, dense_equivalent_bytes = 0;
  std::optional<RunReading> run;
  // Digests by name of the state that an update left; update -1: nothing is told of one.
  int64_t update = -1;
  std::vector<std::pair<std::string, std::string>> state;
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
  // What the replicas of this rank had, too, after that update. For readings; no page shows it.
  void StateWas(int64_t update, std::vector<std::pair<std::string, std::string>> digests);

  // For a PageServer.
  http::Page Page() const;
  RankReading Read() const;

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
  Number last_step_, step_;
  std::atomic<bool> opened_ = false;
  std::unique_ptr<RunFigures> run_;  // null: of another rank
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  int64_t update_ = -1;
  std::vector<std::pair<std::string, std::string>> state_;
};

}  // namespace filigree::metrics

#endif  // FILIGREE_WORKER_METRICS_RANK_METRICS_H_
