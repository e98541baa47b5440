#ifndef FILIGREE_WORKER_PROFILE_PROFILE_H_
#define FILIGREE_WORKER_PROFILE_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/trace.h"
#include "worker/machine/machine.h"
#include "worker/profile/kernel_times.h"

// A few steps of a run, as training takes them, with every kernel on record. Nothing is written into the run's folder:
// the steps are taken on a copy of its state in memory and thrown away.

namespace filigree::train {

struct ProfileOptions {
  std::string config;  // a TOML file: the beginning of such a run; a run folder: where its newest checkpoint stands
  std::vector<std::string> overrides;
  int steps = 3;   // on record
  int warmup = 2;  // before them
};

// One step on the clock of the trace.
struct ProfiledStep {
  int64_t step = 0;  // its index in the run
  int64_t start_ns = 0, data_end_ns = 0, end_ns = 0;
};

// Seconds of all steps on record together.
struct PhaseTimes {
  double data = 0, forward = 0, backward = 0, optimizer = 0, topk = 0;

  double sum() const { return data + forward + backward + optimizer + topk; }
};

struct Profile {
  std::string run;                 // name; of a configuration without one: its path
  std::vector<std::string> notes;  // of opening it
  machine::Machine machine;
  double density = 1, embedding_density = 1;  // of the last step
  int64_t tokens_per_step = 0;
  std::vector<ProfiledStep> steps;
  std::vector<KernelTime> kernels;
  PhaseTimes phases;
  double wall_seconds = 0;            // of the steps, data included
  double speed_of_light_seconds = 0;  // what the machine could need for them at best (cost.h)
  std::vector<kernels::ThreadTrace> trace;

  double thread_seconds() const { return wall_seconds * machine.threads; }
  double kernel_seconds() const;    // of threads, on a core
  double off_core_seconds() const;  // of threads, in kernels but not on a core
};

// Errors as OpenRun, and InvalidArgument where steps or warmup are out of range or the run has fewer steps.
// A run that is complete, or nearly, is set back to its last steps: schedules as there, weights as they are.
//
// Threads: one profile at a time; the trace is the process's.
absl::StatusOr<Profile> ProfileRun(const ProfileOptions& options);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_PROFILE_PROFILE_H_
