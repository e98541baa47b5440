#include "worker/metrics/run_figures.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "worker/metrics/families.h"
#include "worker/telemetry/display.h"

namespace filigree::metrics {

RunFigures::RunFigures(std::string run_id, const RunInfo& info) : run_id_(std::move(run_id)), info_(info) {}

void RunFigures::Run(const telemetry::RunRecord& record) {
  step_.Set(static_cast<double>(record.step));
  target_steps_.Set(static_cast<double>(record.steps));
  tokens_per_step_ = static_cast<double>(record.tokens_per_step);
}

void RunFigures::Step(const telemetry::StepRecord& record) {
  step_.Set(static_cast<double>(record.step + 1));
  learning_rate_.Set(record.lr);
  gradient_norm_.Set(record.gradient_norm);
  train_loss_.Set(record.loss);
  density_.Set(record.density);
  tokens_.Add(tokens_per_step_);
  if (!std::isfinite(record.loss) || !std::isfinite(record.gradient_norm)) skipped_steps_.Add(1);
  stepped_ = true;
}

void RunFigures::Eval(const telemetry::EvalRecord& record) {
  val_loss_.Set(record.loss);
  evaluated_ = true;
}

void RunFigures::Snapshot(const telemetry::SnapshotRecord& record) {
  const std::lock_guard lock(mutex_);
  snapshot_ = record;
}

void RunFigures::AddTo(http::MetricsPage& page) const {
  page.Add(kRunInfo,
           Own({{"run_name", telemetry::Printable(info_.run_name)},
                {"config_sha256", info_.config_sha256},
                {"dp", std::to_string(info_.dp)},
                {"tp", std::to_string(info_.tp)}}),
           1);
  page.Add(kStep, Own(), step_.Get());
  page.Add(kTargetSteps, Own(), target_steps_.Get());
  if (stepped_) {
    page.Add(kLearningRate, Own(), learning_rate_.Get());
    page.Add(kGradientNorm, Own(), gradient_norm_.Get());
    page.Add(kTrainLoss, Own(), train_loss_.Get());
    page.Add(kDensity, Own(), density_.Get());
  }
  if (evaluated_) page.Add(kValLoss, Own(), val_loss_.Get());
  page.Add(kTokens, Own(), tokens_.Get());
  page.Add(kTargetDensity, Own(), info_.target_density);
  page.Add(kMaskMismatch, Own(), mask_mismatches_.Get());
  page.Add(kSkippedSteps, Own({{"reason", "not_finite"}}), skipped_steps_.Get());
  page.Add(kLastCheckpoint, Own(), last_checkpoint_.Get());
  page.Add(kCheckpointFailures, Own(), checkpoint_failures_.Get());
  AddMatrices(page);
}

void RunFigures::AddMatrices(http::MetricsPage& page) const {
  std::map<std::string, double> thresholds;
  const std::lock_guard lock(mutex_);
  for (const telemetry::MatrixSnapshot& matrix : snapshot_.matrices) {
    const std::string layer = matrix.layer < 0 ? "" : std::to_string(matrix.layer);
    page.Add(kLayerDensity, Own({{"layer", layer}, {"matrix", matrix.kind}}),
             static_cast<double>(matrix.nnz) / static_cast<double>(std::max<int64_t>(matrix.numel, 1)));
    const auto [found, is_new] = thresholds.try_emplace(matrix.kind, matrix.threshold);
    if (!is_new) found->second = std::min(found->second, matrix.threshold);
  }
  for (const auto& [kind, threshold] : thresholds) page.Add(kMaskThreshold, Own({{"matrix", kind}}), threshold);
}

http::Labels RunFigures::Own(http::Labels more) const {
  more.insert(more.begin(), {"run_id", run_id_});
  return more;
}

}  // namespace filigree::metrics
