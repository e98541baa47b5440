#include "worker/metrics/rank_metrics.h"

#include <chrono>
#include <utility>

#include "worker/metrics/families.h"
#include "worker/metrics/run_figures.h"
#include "worker/telemetry/display.h"

namespace filigree::metrics {
namespace {

double SystemSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

RankOptions Completed(RankOptions options) {
  if (!options.clock) options.clock = SystemSeconds;
  options.run_id = telemetry::Printable(options.run_id);  // Prometheus refuses pages that are not UTF-8
  return options;
}

}  // namespace

RankMetrics::RankMetrics(RankOptions options) : options_(Completed(std::move(options))), last_step_(options_.clock()) {
  if (options_.run) run_ = std::make_unique<RunFigures>(options_.run_id, *options_.run);
}
RankMetrics::~RankMetrics() = default;

void RankMetrics::Run(const telemetry::RunRecord& record) {
  step_.Set(static_cast<double>(record.step));
  opened_ = true;
  if (run_ != nullptr) run_->Run(record);
}

void RankMetrics::Step(const telemetry::StepRecord& record) {
  durations_.Add(record.ms / 1e3);
  for (int p = 0; p < telemetry::kPhases; ++p) phases_[p].Add(record.phase_seconds[p]);
  const telemetry::WireBytes& wire = record.wire;
  activations_.sent.Add(static_cast<double>(wire.activations_sent));
  activations_.received.Add(static_cast<double>(wire.activations_received));
  gradients_.sent.Add(static_cast<double>(wire.sent - wire.activations_sent));
  gradients_.received.Add(static_cast<double>(wire.received - wire.activations_received));
  // Every rank of a ring receives as much as it sends.
  dense_.sent.Add(static_cast<double>(wire.dense_equivalent));
  dense_.received.Add(static_cast<double>(wire.dense_equivalent));
  last_step_.Set(options_.clock());
  step_.Set(static_cast<double>(record.step + 1));
  if (run_ != nullptr) run_->Step(record);
}

void RankMetrics::Eval(const telemetry::EvalRecord& record) {
  if (run_ != nullptr) run_->Eval(record);
}

void RankMetrics::Snapshot(const telemetry::SnapshotRecord& record) {
  if (run_ != nullptr) run_->Snapshot(record);
}

void RankMetrics::Checkpoint(const telemetry::CheckpointRecord&) {
  if (run_ != nullptr) run_->CheckpointAt(options_.clock());
}

void RankMetrics::CheckpointFailed() {
  if (run_ != nullptr) run_->CheckpointFailed();
}

void RankMetrics::ReplicasDiffered() {
  if (run_ != nullptr) run_->ReplicasDiffered();
}

void RankMetrics::StateWas(int64_t update, std::vector<std::pair<std::string, std::string>> digests) {
  const std::lock_guard lock(mutex_);
  update_ = update;
  state_ = std::move(digests);
}

http::Page RankMetrics::Page() const {
  http::MetricsPage page(options_.build);
  page.Add(kStepDuration, Own(), durations_.Get());
  for (int p = 0; p < telemetry::kPhases; ++p)
    page.Add(kStepPhase, Own({{"phase", telemetry::kPhaseNames[p]}}), phases_[p].Get());
  AddBytes(page, kCommBytes, "gradients", gradients_);
  AddBytes(page, kCommBytes, "activations", activations_);
  AddBytes(page, kCommDense, "gradients", dense_);
  page.Add(kLastStep, Own(), last_step_.Get());
  if (run_ != nullptr && options_.shows_run) run_->AddTo(page);
  return page.Text();
}

RankReading RankMetrics::Read() const {
  RankReading reading;
  reading.opened = opened_;
  reading.step = static_cast<int64_t>(step_.Get());
  for (int p = 0; p < telemetry::kPhases; ++p) reading.phase_seconds[p] = phases_[p].Get();
  reading.sent_bytes = static_cast<int64_t>(gradients_.sent.Get() + activations_.sent.Get());
  reading.received_bytes = static_cast<int64_t>(gradients_.received.Get() + activations_.received.Get());
  reading.dense_equivalent_bytes = static_cast<int64_t>(dense_.sent.Get());
  if (run_ != nullptr) reading.run = run_->Read();
  const std::lock_guard lock(mutex_);
  reading.update = update_;
  reading.state = state_;
  return reading;
}

void RankMetrics::AddBytes(http::MetricsPage& page, const http::FamilyInfo& family, const char* op,
                           const Bytes& bytes) const {
  page.Add(family, Own({{"op", op}, {"direction", "sent"}}), bytes.sent.Get());
  page.Add(family, Own({{"op", op}, {"direction", "received"}}), bytes.received.Get());
}

http::Labels RankMetrics::Own(http::Labels more) const {
  http::Labels labels = {{"run_id", options_.run_id}, {"rank", std::to_string(options_.rank)}};
  labels.insert(labels.end(), more.begin(), more.end());
  return labels;
}

}  // namespace filigree::metrics
