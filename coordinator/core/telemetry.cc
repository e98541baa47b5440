#include "coordinator/core/telemetry.h"

#include <cmath>
#include <utility>

namespace filigree::coordinator {

const char* Name(RankState state) {
  constexpr const char* kNames[] = {"starting", "running", "stopped", "finished", "failed"};
  return kNames[static_cast<int>(state)];
}

const char* Name(Phase phase) {
  constexpr const char* kNames[kPhases] = {"data",     "forward",   "backward", "compress",
                                           "exchange", "optimizer", "topk",     "checkpoint"};
  return kNames[static_cast<int>(phase)];
}

bool Alive(RankState state) { return state == RankState::kStarting || state == RankState::kRunning; }

void RankTelemetry::Take(RankState state, const std::string& reason, const RankProgress& progress, int64_t window) {
  heard_ = true;
  state_ = state;
  reason_ = reason;
  if (progress.step < last_.step) return;
  const bool newer = history_.empty() || progress.step > history_.back().step;
  last_ = progress;
  if (!newer) return;
  history_.push_back(progress);
  // The second oldest reaches back far enough: the oldest is not needed. A rank that reports every single step keeps
  // `window` entries.
  while (history_.size() > 2 && history_[1].step <= progress.step - window) history_.pop_front();
}

void RankTelemetry::Show(const std::string& metrics_address, std::shared_ptr<const RunFigures> figures) {
  metrics_address_ = Alive(state_) ? metrics_address : std::string();
  if (figures != nullptr) figures_ = std::move(figures);
}

bool RankTelemetry::MeanOver(int64_t window, PhaseSeconds& mean) const {
  if (history_.empty() || history_.back().step - history_.front().step < window) return false;
  const RankProgress& first = history_.front();
  const RankProgress& last = history_.back();
  for (int p = 0; p < kPhases; ++p) {
    mean[p] = (last.seconds[p] - first.seconds[p]) / static_cast<double>(last.step - first.step);
    if (!std::isfinite(mean[p]) || mean[p] < 0) return false;  // not what a sum does
  }
  return true;
}

}  // namespace filigree::coordinator
