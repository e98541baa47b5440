#include "worker/parallel/progress.h"

#include <algorithm>
#include <vector>

namespace filigree::parallel {

void Progress::Enter(const char* phase, int64_t step, Kind kind) {
  in_step_.store(kind == Kind::kOfStep, std::memory_order_relaxed);
  phase_.store(phase, std::memory_order_relaxed);
  step_.store(step, std::memory_order_relaxed);
  Tick();
}

void Progress::Look() {
  const int64_t done = work_done_->load(std::memory_order_relaxed);
  if (done == seen_) return;
  seen_ = done;
  Tick();
}

void Progress::StepDone(double seconds) {
  constexpr size_t kSteps = 33;
  const std::lock_guard lock(mutex_);
  step_seconds_.push_back(seconds);
  if (step_seconds_.size() > kSteps) step_seconds_.pop_front();
}

double Progress::median_step_seconds() const {
  const std::lock_guard lock(mutex_);
  if (step_seconds_.empty()) return 0;
  std::vector<double> sorted(step_seconds_.begin(), step_seconds_.end());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(sorted.size() / 2), sorted.end());
  return sorted[sorted.size() / 2];
}

}  // namespace filigree::parallel
