#ifndef FILIGREE_WORKER_RUN_TRAINER_H_
#define FILIGREE_WORKER_RUN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/file_system.h"
#include "worker/data/loader.h"
#include "worker/machine/machine.h"
#include "worker/parallel/world.h"
#include "worker/run/commit.h"
#include "worker/run/loss_spikes.h"
#include "worker/run/open_run.h"
#include "worker/run/run_log.h"
#include "worker/run/told_updates.h"
#include "worker/telemetry/display.h"
#include "worker/train/step.h"

// The loop around the step: data in, steps, evaluations, samples, checkpoints, telemetry out.
//
// With several ranks each has a trainer on the same state, and all go through the same loop: they stop where any of
// them is asked to, they share evaluations, and the first rank alone writes the log, each writes its share of
// the checkpoints.

namespace filigree::train {

enum class RunEnd {
  kDone,    // all steps
  kStopped  // asked to stop; a checkpoint was written, the same command goes on
};

struct TrainerOptions {
  telemetry::Output output = telemetry::Output::kAuto;
  std::string revision;                           // of the program, for the log
  std::function<bool()> stop_requested;           // asked before every step and inside evaluations and samples
  checkpoint::FileSystem* file_system = nullptr;  // for checkpoints; null: the real one
  parallel::World* world = nullptr;               // the ranks that train together; null: alone
  metrics::RankMetrics* metrics = nullptr;        // is told of every step; null: nobody asks
  Fencing* fencing = nullptr;                     // who commits checkpoints, borrowed; null: no coordinator
};

class Trainer {
 public:
  // Borrows `run`, which outlives the trainer.
  Trainer(OpenedRun& run, const TrainerOptions& options);

  // Trains to the end or until a stop is asked for; an evaluation or sample that a stop breaks off is not logged.
  // Errors: the log cannot be opened; the last checkpoint could not be written (a save that fails earlier is a warning
  // and is tried again); loss or gradient stayed not finite; a rank was lost; ranks do not hold the same state any
  // more; with fencing, this generation is over (IsSuperseded).
  absl::StatusOr<RunEnd> Run();

  // Did Run fail because a rank was lost or did not answer?
  bool lost_a_rank() const { return !world_failure_.ok() && !replicas_differ() && !superseded(); }
  // Or because its generation is over, which all ranks know: it is to leave without another word.
  bool superseded() const { return IsSuperseded(world_failure_); }
  // Or because replicas differ, which all ranks know: the last checkpoint is good.
  bool replicas_differ() const { return absl::IsDataLoss(world_failure_); }

 private:
  absl::Status Open();
  absl::Status AgreeOnSavedStep();
  absl::Status TakeUnsent();
  absl::Status TrainOneStep();
  absl::StatusOr<StepResult> StepOrSkip();
  void LogStep(const StepResult& result, double data_seconds, double seconds);
  telemetry::WireBytes WireOf(const StepResult& result) const;
  void AfterStep();
  bool together() const { return options_.world != nullptr && options_.world->size() > 1; }
  bool first() const { return options_.world == nullptr || options_.world->first(); }
  bool AllAreHere();
  void Enter(const char* phase, parallel::Progress::Kind kind);  // for the watchdog
  bool Stopping();
  void EvaluateNow(int64_t sequences);
  void SampleNow();
  absl::Status SaveNow();
  checkpoint::State StateToSave();
  absl::StatusOr<checkpoint::SaveResult> Save();
  bool NothingToCommit() const;
  absl::Status CheckLock();
  void Note(const std::string& text) { log_.Note({state_.step, text}); }

  OpenedRun& run_;
  TrainerOptions options_;
  TrainState& state_;
  data::Loader loader_;
  machine::Machine machine_;
  Stepper stepper_;
  RunLog log_;
  LossSpikes spikes_;
  ToldUpdates told_updates_;
  std::vector<int32_t> tokens_;
  double pending_checkpoint_seconds_ = 0;  // counted with the next step
  int64_t skipped_in_a_row_ = 0;
  int64_t retry_save_at_ = -1;  // step; -1: no save is owed
  bool recomputes_ = false;     // goes on from an older copy than the last commit, whose files are lost
  absl::Status world_failure_;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_TRAINER_H_
