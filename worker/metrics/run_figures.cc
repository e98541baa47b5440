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

RunReading RunFigures::Read() const {
  RunReading reading;
  reading.target_steps = static_cast<int64_t>(target_steps_.Get());
  if (stepped_) {
    reading.learning_rate = learning_rate_.Get();
    reading.gradient_norm = gradient_norm_.Get();
    reading.train_loss = train_loss_.Get();
    reading.density = density_.Get();
  }
  if (evaluated_) reading.val_loss = val_loss_.Get();
  reading.target_density = info_.target_density;
  reading.tokens = static_cast<int64_t>(tokens_.Get());
  reading.mask_mismatches = static_cast<int64_t>(mask_mismatches_.Get());
  reading.skipped_steps = static_cast<int64_t>(skipped_steps_.Get());
  reading.checkpoint_failures = static_cast<int64_t>(checkpoint_failures_.Get());
  reading.last_checkpoint = last_checkpoint_.Get();
  reading.config_sha256 = info_.config_sha256;
  const std::lock_guard lock(mutex_);
  reading.matrices.reserve(snapshot_.matrices.size());
  for (const telemetry::MatrixSnapshot& matrix : snapshot_.matrices) {
    const double density = static_cast<double>(matrix.nnz) / static_cast<double>(std::max<int64_t>(matrix.numel, 1));
    reading.matrices.push_back({matrix.layer, matrix.kind, density, matrix.threshold});
  }
  return reading;
}

void RunFigures::AddTo(http::MetricsPage& page) const {
  const RunReading reading = Read();
  const auto add = [&](const http::FamilyInfo& family, const std::optional<double>& value) {
    if (value) page.Add(family, Own(), *value);
  };
  page.Add(kRunInfo,
           Own({{"run_name", telemetry::Printable(info_.run_name)},
                {"config_sha256", info_.config_sha256},
                {"dp", std::to_string(info_.dp)},
                {"tp", std::to_string(info_.tp)}}),
           1);
  page.Add(kStep, Own(), step_.Get());
  page.Add(kTargetSteps, Own(), static_cast<double>(reading.target_steps));
  add(kLearningRate, reading.learning_rate);
  add(kGradientNorm, reading.gradient_norm);
  add(kTrainLoss, reading.train_loss);
  add(kDensity, reading.density);
  add(kValLoss, reading.val_loss);
  page.Add(kTokens, Own(), static_cast<double>(reading.tokens));
  page.Add(kTargetDensity, Own(), reading.target_density);
  page.Add(kMaskMismatch, Own(), static_cast<double>(reading.mask_mismatches));
  page.Add(kSkippedSteps, Own({{"reason", "not_finite"}}), static_cast<double>(reading.skipped_steps));
  page.Add(kLastCheckpoint, Own(), reading.last_checkpoint);
  page.Add(kCheckpointFailures, Own(), static_cast<double>(reading.checkpoint_failures));
  AddMatrices(page, reading.matrices);
}

void RunFigures::AddMatrices(http::MetricsPage& page, const std::vector<MatrixReading>& matrices) const {
  std::map<std::string, double> thresholds;
  for (const MatrixReading& matrix : matrices) {
    const std::string layer = matrix.layer < 0 ? "" : std::to_string(matrix.layer);
    page.Add(kLayerDensity, Own({{"layer", layer}, {"matrix", matrix.kind}}), matrix.density);
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
