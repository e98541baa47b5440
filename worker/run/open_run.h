#ifndef FILIGREE_WORKER_RUN_OPEN_RUN_H_
#define FILIGREE_WORKER_RUN_OPEN_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/run_lock.h"
#include "worker/config/settings.h"
#include "worker/data/corpus.h"
#include "worker/parallel/world.h"
#include "worker/run/commit.h"
#include "worker/telemetry/records.h"
#include "worker/train/state.h"

// From a configuration or a run folder to a state that can be trained: settings, lock, corpus, weights or checkpoint.

namespace filigree::train {

// What comes after the last step, in this order: evaluation, sample, save. What is owed are this one and those after
// it.
enum class Owed { kNothing, kSave, kSample, kEvaluation };

struct OpenedRun {
  config::Settings settings;                      // resolved
  std::optional<checkpoint::RunLock> lock;        // of the first rank
  std::vector<telemetry::StepRecord> last_steps;  // the newest few, on every rank: should the writer of the log be lost
  std::unique_ptr<data::Corpus> corpus;
  std::unique_ptr<kernels::ThreadPool> pool;
  std::unique_ptr<TrainState> state;
  bool resumed = false;
  int64_t saved_step = -1;  // of the newest checkpoint that this process knows to be saved; -1: none
  // All steps are done, but this of what comes then is not known to be, on any rank.
  Owed owed = Owed::kNothing;
  std::optional<checkpoint::Checkpoint> resumed_from;  // until the trainer has taken what is left in it
  std::vector<std::string> notes;                      // what the user should know before the first step
};

// The settings that are wanted: `config` is a TOML file or the folder of a run, which goes on with its own settings.
// `overrides` as config::Load. InvalidArgument, NotFound: says what is wrong with them.
absl::StatusOr<config::Settings> WantedSettings(const std::string& config, const std::vector<std::string>& overrides);

// The step of the newest checkpoint of a run folder, 0: it has none. For forecasts: nothing is read of it.
int64_t StepGoneOnFrom(const std::string& run_dir);

struct OpenOptions {
  // What identifies this program to other ranks.
  std::string program = {};
  // Who commits checkpoints, on every rank or on none; null: no coordinator. The run goes on from fencing->resume and
  // nothing newer; where its files are lost, from an older one that was committed, which is noted (DataLoss: there is
  // none). Without a commit it begins; FailedPrecondition: the folder holds another run. IsSuperseded: a later
  // generation has the folder.
  const Fencing* fencing = nullptr;
  double lock_patience = 0;                 // TakeLock's
  checkpoint::FileSystem* files = nullptr;  // that checkpoints are read from; null: the real one
  // Of an earlier opening of the run by this process, whose files need not be read again; null: there was none.
  std::unique_ptr<data::Corpus> corpus = nullptr;
};

// A new run begins in settings.run.dir, which is created; where it holds a run already, that run goes on if the
// settings allow it (config::CheckResume). InvalidArgument: settings; NotFound, DataLoss: corpus or checkpoints;
// FailedPrecondition: another live process has the folder, the checkpoint is of another model or the corpus another
// one; PermissionDenied: the folder cannot be written.
//
// `world`: all ranks open the same run, in memory of their own; the first alone holds the lock. Where one fails, all
// do, with its reason; where their program, settings or corpus differ, FailedPrecondition names rank and field. Null:
// alone.
// Where not all can read the newest checkpoint, all take the newest that each of them can.
absl::StatusOr<OpenedRun> OpenRun(config::Settings settings, parallel::World* world = nullptr,
                                  OpenOptions options = {});
absl::StatusOr<OpenedRun> OpenRun(const std::string& config, const std::vector<std::string>& overrides);

// The lock of the run folder, for the first rank: of its generation where there is one. patience: so many seconds it is
// asked for again while another process has it, as after a loss the first rank of before may still be about to leave:
// kLockPatience, more than it has for that. Errors: RunLock::Acquire's.
inline constexpr double kLockPatience = 75;
inline constexpr char kWaitsForLock[] = "waiting for the lock of the run folder";  // the phase of world meanwhile
absl::Status TakeLock(const std::string& run_dir, const Fencing* fencing, std::optional<checkpoint::RunLock>& lock,
                      double patience = 0, parallel::World* world = nullptr);

// The settings file inside a run folder.
std::string StoredSettingsPath(const std::string& run_dir);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_OPEN_RUN_H_
