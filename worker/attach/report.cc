#include "worker/attach/report.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "proto/contract/ids.h"

namespace filigree::attach {
namespace {

constexpr int kMostMatrices = 4096;

void FillIn(const std::array<double, telemetry::kPhases>& seconds, v1::PhaseSeconds& wire) {
  using telemetry::Phase;
  const auto of = [&](Phase phase) {
    const double sum = seconds[static_cast<size_t>(phase)];
    return std::isfinite(sum) ? std::max(0.0, sum) : 0.0;
  };
  wire.set_data(of(Phase::kData));
  wire.set_forward(of(Phase::kForward));
  wire.set_backward(of(Phase::kBackward));
  wire.set_compress(of(Phase::kCompress));
  wire.set_exchange(of(Phase::kExchange));
  wire.set_optimizer(of(Phase::kOptimizer));
  wire.set_topk(of(Phase::kTopk));
  wire.set_checkpoint(of(Phase::kCheckpoint));
}

uint64_t Count(int64_t number) { return static_cast<uint64_t>(std::max<int64_t>(0, number)); }

void FillIn(const metrics::RunReading& run, v1::RunFigures& wire) {
  wire.set_target_steps(run.target_steps);
  if (run.learning_rate) wire.set_learning_rate(*run.learning_rate);
  if (run.gradient_norm) wire.set_gradient_norm(*run.gradient_norm);
  if (run.train_loss) wire.set_train_loss(*run.train_loss);
  if (run.val_loss) wire.set_val_loss(*run.val_loss);
  if (run.density) wire.set_density(*run.density);
  wire.set_target_density(run.target_density);
  wire.set_tokens(Count(run.tokens));
  wire.set_skipped_steps(Count(run.skipped_steps));
  wire.set_checkpoint_failures(Count(run.checkpoint_failures));
  wire.set_config_sha256(run.config_sha256);
  for (const metrics::MatrixReading& matrix : run.matrices) {
    if (!contract::IsId(matrix.kind) || wire.matrices_size() == kMostMatrices) continue;
    v1::MatrixFigures& added = *wire.add_matrices();
    added.set_layer(static_cast<int32_t>(matrix.layer));
    added.set_matrix(matrix.kind);
    added.set_density(matrix.density);
    added.set_threshold(matrix.threshold);
  }
}

}  // namespace

v1::TellRequest ReportOf(const metrics::RankReading& reading) {
  v1::TellRequest report;
  report.set_state(reading.opened ? v1::RANK_STATE_RUNNING : v1::RANK_STATE_STARTING);
  v1::RankProgress& progress = *report.mutable_progress();
  progress.set_step(std::max<int64_t>(0, reading.step));
  FillIn(reading.phase_seconds, *progress.mutable_seconds());
  progress.set_sent_bytes(Count(reading.sent_bytes));
  progress.set_received_bytes(Count(reading.received_bytes));
  progress.set_dense_equivalent_bytes(Count(reading.dense_equivalent_bytes));
  if (reading.opened && reading.update >= 0) {
    report.set_mask_epoch(reading.update);
    for (const auto& [name, digest] : reading.state) {
      v1::Digest& added = *report.add_mask_digests();
      added.set_name(name);
      added.set_digest(digest);
    }
  }
  // Before the run is open nothing is known of it.
  if (reading.run && reading.opened) FillIn(*reading.run, *report.mutable_figures());
  return report;
}

}  // namespace filigree::attach
