#ifndef FILIGREE_COORDINATOR_CONSOLE_SAMPLE_H_
#define FILIGREE_COORDINATOR_CONSOLE_SAMPLE_H_

#include <cstdint>
#include <limits>

#include "coordinator/core/core.h"
#include "coordinator/core/telemetry.h"

namespace filigree::coordinator {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// How a run gets on at one time. NaN: not known.
struct Sample {
  int64_t wall_us = 0;
  int64_t generation = 0, step = 0, target_steps = 0;  // step: that every rank has completed; target 0: not known
  double train_loss = kUnknown, val_loss = kUnknown, density = kUnknown, learning_rate = kUnknown;
  double churn = kUnknown;                            // mean over matrices, at the last evaluation
  double step_seconds = kUnknown;                     // of the slowest rank
  PhaseSeconds phases = {};                           // mean over ranks, a step; known where step_seconds is
  double sent_bytes = 0, dense_equivalent_bytes = 0;  // all ranks, since the generation began
  double tokens = 0;                                  // since the generation began
};

// Of a job whose ranks may run. Called where the core may be read.
Sample SampleOf(const Core& core, const JobRow& row, Now now);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_SAMPLE_H_
