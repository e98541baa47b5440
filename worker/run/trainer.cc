#include "worker/run/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer_files.h"
#include "worker/run/run_facts.h"
#include "worker/run/save_together.h"
#include "worker/run/snapshot.h"
#include "worker/run/unsent.h"
#include "worker/train/cost.h"
#include "worker/train/evaluate.h"
#include "worker/train/fault.h"
#include "worker/train/generate.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

constexpr int64_t kMostSkippedInARow = 5;
constexpr int64_t kStepsBeforeSaveRetry = 10;
constexpr size_t kLastSteps = 4;  // ranks are never more than a step apart

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

bool IsFinite(const StepResult& result) { return std::isfinite(result.loss) && std::isfinite(result.gradient_norm); }

}  // namespace

Trainer::Trainer(OpenedRun& run, const TrainerOptions& options)
    : run_(run),
      options_(options),
      state_(*run.state),
      loader_(run.corpus->train(), run.state->spec.n_ctx, static_cast<uint64_t>(run.settings.run.seed)),
      machine_(machine::MeasureMachine(*run.pool)),
      stepper_(run.settings, *run.state, *run.pool, options.world),
      tokens_(static_cast<size_t>(run.settings.train.batch) * run.state->spec.n_ctx) {
  if (options_.file_system == nullptr) options_.file_system = &checkpoint::RealFileSystem();
}

absl::StatusOr<RunEnd> Trainer::Run() {
  absl::Status opened = Open();
  if (together()) opened = options_.world->Agree(opened);
  if (!opened.ok()) return opened;
  const int64_t S = run_.settings.run.steps;
  if (state_.step == S && run_.owed > Owed::kSave) AfterStep();  // a rank was lost in it
  while (state_.step < S && !Stopping()) {
    if (absl::Status status = TrainOneStep(); !status.ok()) {
      log_.End({state_.step, 0, std::string(status.message())});
      return status;
    }
    AfterStep();
  }
  if (!world_failure_.ok()) {
    log_.End({state_.step, 0, std::string(world_failure_.message())});
    return world_failure_;
  }
  const bool stopped = state_.step < S;
  const absl::Status saved = run_.saved_step == state_.step ? absl::OkStatus() : SaveNow();
  const std::string reason = !saved.ok() ? std::string(saved.message()) : stopped ? "stopped" : "done";
  log_.End({state_.step, 0, reason});
  if (!saved.ok()) return saved;
  return stopped ? RunEnd::kStopped : RunEnd::kDone;
}

absl::Status Trainer::Open() {
  log_.Show(options_.metrics);
  if (run_.resumed || NothingToCommit()) run_.saved_step = state_.step;
  if (absl::Status agreed = AgreeOnSavedStep(); !agreed.ok()) return agreed;
  recomputes_ = options_.fencing != nullptr && options_.fencing->resume && state_.step < options_.fencing->resume->step;
  // What was due when a rank was lost, or was to be tried again, comes with the next step.
  const int64_t every = run_.settings.checkpoint.every;
  const int64_t due = every > 0 ? state_.step / every * every : 0;
  if (due > std::max<int64_t>(run_.saved_step, 0)) retry_save_at_ = state_.step + 1;
  if (absl::Status status = TakeUnsent(); !status.ok()) return status;
  const auto begin = [this] { log_.Run(DescribeRun(run_, machine_, options_.revision, options_.world)); };
  if (!first()) {
    begin();
    return absl::OkStatus();
  }
  if (absl::Status status = CheckLock(); !status.ok()) return status;
  if (absl::Status status = StoreSettings(*options_.file_system, run_.settings); !status.ok()) return status;
  telemetry::LogOptions log;
  log.dir = run_.settings.run.dir;
  log.steps = run_.settings.run.steps;
  log.completed = state_.step;
  log.output = options_.output;
  if (options_.fencing != nullptr) log.may_write = [this] { return CheckLock(); };
  if (absl::Status status = log_.Open(log); !status.ok()) return status;
  log_.CatchUp(run_.last_steps);
  begin();
  for (const std::string& note : run_.notes) Note(note);
  return absl::OkStatus();
}

// Ranks save together; where one was lost in the middle of a save, not all know that it was done.
absl::Status Trainer::AgreeOnSavedStep() {
  if (!together()) return absl::OkStatus();
  const parallel::Progress::Waiting waiting(options_.world->progress());
  options_.world->all().Name("the last save");
  const std::span<int64_t> step(&run_.saved_step, 1);
  return options_.world->all().AllReduce(comm::ArrayOf(step), comm::ReduceOp::kMin);
}

// Does the run folder still belong to this process, the first rank's?
absl::Status Trainer::CheckLock() { return run_.lock.has_value() ? run_.lock->Check() : absl::OkStatus(); }

// What the ranks of the checkpoint had held back.
absl::Status Trainer::TakeUnsent() {
  if (!run_.resumed_from.has_value()) return absl::OkStatus();
  const parallel::Grid grid = together() ? options_.world->grid() : parallel::Grid();
  const int rank = together() ? options_.world->rank() : 0;
  const absl::Status status =
      RestoreUnsent(*run_.resumed_from, grid, rank, stepper_.registry(), stepper_.residual(), run_.notes);
  run_.resumed_from.reset();
  return status;
}

absl::Status Trainer::TrainOneStep() {
  const double start = Now();
  Enter("training", parallel::Progress::Kind::kOfStep);
  FaultPoint("data", state_.step);
  const int n_ctx = state_.spec.n_ctx;
  for (int64_t i = 0; i < run_.settings.train.batch; ++i) {
    loader_.Sequence(state_.position + i, tokens_.data() + i * n_ctx);
  }
  const double data_seconds = Now() - start;
  const int64_t update = state_.step;
  const bool told = options_.metrics != nullptr && !stepper_.left().empty() && told_updates_.IsTold(update);
  const auto left = told ? WordsOf(stepper_.left()) : std::vector<std::pair<std::string, std::string>>();
  const absl::StatusOr<StepResult> result = StepOrSkip();
  if (!result.ok()) return result.status();
  // The step has compared it: all ranks say the same, so nobody hears of a state that is about to be given up.
  if (told) options_.metrics->StateWas(update, left);
  if (skipped_in_a_row_ > kMostSkippedInARow) {
    const std::string weights =
        run_.saved_step <= 0
            ? ""
            : fmt::format(
                  "; init.from = \"{}\" gives it the weights that this one had after step {} (and, where "
                  "nothing is said of sparsity.density_start, a dense start)",
                  run_.settings.run.dir, run_.saved_step);
    return absl::InternalError(
        fmt::format("loss or gradient were not finite in {} steps in a row, the last of them step {}; start a new run "
                    "with a lower optim.lr (it is {}) in another run.dir{}",
                    skipped_in_a_row_, state_.step - 1, run_.settings.optim.lr, weights));
  }
  FaultPoint("log", state_.step - 1);
  if (options_.world != nullptr) options_.world->progress().StepDone(Now() - start);
  told_updates_.StepTook(Now() - start);
  LogStep(*result, data_seconds, Now() - start);
  return absl::OkStatus();
}

// A step that is not finite, or whose loss jumps, is computed again: a fault of the machine goes away. What is not
// finite the second time is left out, as every rank would; a loss that jumps the second time is the data's.
absl::StatusOr<StepResult> Trainer::StepOrSkip() {
  const auto batch = static_cast<int>(run_.settings.train.batch);
  const int64_t s = state_.step;
  StepResult result;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const double most = attempt == 0 ? spikes_.MostUsual() : std::numeric_limits<double>::infinity();
    absl::StatusOr<StepResult> step = stepper_.Step(tokens_.data(), batch, state_.spec.n_ctx, most);
    if (!step.ok()) {
      world_failure_ = step.status();
      return step;
    }
    const double first_loss = result.loss;
    const bool first_finite = IsFinite(result);
    result = *std::move(step);
    if (state_.step == s) continue;  // it changed nothing
    if (attempt > 0 && !first_finite) Note(fmt::format("step {} was not finite and is now: computed again", s));
    if (attempt > 0 && first_finite) Note(spikes_.Verdict(s, first_loss, result.loss));
    spikes_.Take(result.loss);
    skipped_in_a_row_ = 0;
    return result;
  }
  Note(fmt::format("step {}: loss {} and gradient norm {} are not finite; the step changes nothing", state_.step,
                   result.loss, result.gradient_norm));
  ++skipped_in_a_row_;
  state_.step += 1;
  state_.position += batch;
  return result;
}

void Trainer::LogStep(const StepResult& result, double data_seconds, double seconds) {
  telemetry::StepRecord record;
  record.step = state_.step - 1;
  record.loss = result.loss;
  record.lr = result.lr;
  record.density = result.density;
  record.embedding_density = result.embedding_density;
  record.gradient_norm = result.gradient_norm;
  record.gradient_rms = result.gradient_rms;
  seconds += pending_checkpoint_seconds_;
  record.ms = seconds * 1e3;
  record.tokens_per_second = static_cast<double>(tokens_.size()) / seconds;
  const StepCost cost = CostOfStep(
      state_.spec, state_.registry, *state_.layout, [this](int tensor) { return state_.masks.nonzeros(tensor); },
      run_.settings.train.batch, state_.spec.n_ctx);
  record.percent_of_peak = 100 * machine_.SecondsAtBest(cost.flops, cost.bytes) / seconds;
  record.bits_per_byte = data::BitsPerByte(result.loss, run_.corpus->train_bytes_per_token());
  record.epochs = loader_.Epochs(state_.position);
  const auto phase = [&record](telemetry::Phase p) -> double& { return record.phase_seconds[static_cast<int>(p)]; };
  phase(telemetry::Phase::kData) = data_seconds;
  phase(telemetry::Phase::kForward) = result.forward_seconds;
  phase(telemetry::Phase::kBackward) = result.backward_seconds;
  phase(telemetry::Phase::kExchange) = result.exchange_seconds;
  phase(telemetry::Phase::kOptimizer) = result.optimizer_seconds;
  phase(telemetry::Phase::kTopk) = result.topk_seconds;
  phase(telemetry::Phase::kCheckpoint) = std::exchange(pending_checkpoint_seconds_, 0);
  if (together()) record.wire = WireOf(result);
  const int64_t every = run_.settings.eval.every;
  if (every > 0 && (state_.step % every == 0 || state_.step == run_.settings.run.steps)) {
    for (int i = 0; i < state_.registry.size(); ++i) {
      if (state_.masks.sparsified(i)) record.nnz.push_back({state_.registry[i].name, state_.masks.nonzeros(i)});
    }
  }
  run_.last_steps.push_back(record);
  if (run_.last_steps.size() > kLastSteps) run_.last_steps.erase(run_.last_steps.begin());
  log_.Step(std::move(record));
}

// Beside what an fp32 all-reduce of the whole, dense gradient would send.
telemetry::WireBytes Trainer::WireOf(const StepResult& result) const {
  const auto ranks = static_cast<double>(options_.world->grid().data);
  const auto dense = static_cast<double>(state_.registry.trained_elements() * sizeof(float));
  return {result.traffic.sent_bytes, result.traffic.received_bytes,
          static_cast<int64_t>(2 * (ranks - 1) / ranks * dense), result.activations.sent_bytes,
          result.activations.received_bytes};
}

// What comes at intervals: evaluation and snapshot, a sample, a checkpoint; all of them after the last step.
void Trainer::AfterStep() {
  const config::Settings& settings = run_.settings;
  const bool last = state_.step == settings.run.steps;
  if (last && run_.owed == Owed::kNothing) run_.owed = Owed::kEvaluation;
  const auto due = [&](int64_t every) { return every > 0 && (state_.step % every == 0 || last); };
  // After the last step: is it owed still, and what is when it is done?
  const auto owed = [&](Owed what) { return !last || run_.owed >= what; };
  const auto then = [&](Owed what) {
    if (last && AllAreHere()) run_.owed = std::min(run_.owed, what);
  };
  if (due(settings.eval.every) && owed(Owed::kEvaluation)) EvaluateNow(last ? 0 : settings.eval.sequences);
  then(Owed::kSample);
  if (due(settings.sample.every) && owed(Owed::kSample)) SampleNow();
  then(Owed::kSave);
  const bool retry = retry_save_at_ >= 0 && state_.step >= retry_save_at_;
  if (!last && (due(settings.checkpoint.every) || retry)) {
    const absl::Status saved = SaveNow();
    if (!saved.ok() && world_failure_.ok()) {
      const int64_t every = settings.checkpoint.every;
      const int64_t until_due = every > 0 ? every - state_.step % every : kStepsBeforeSaveRetry;
      Note(fmt::format("no checkpoint: {}; training goes on and tries again in {} steps", std::string(saved.message()),
                       std::min<int64_t>(kStepsBeforeSaveRetry, until_due)));
    }
  }
}

// The others are done sooner than the first, who writes; and should it be lost in that, theirs is not done either.
bool Trainer::AllAreHere() {
  if (!together() || !world_failure_.ok()) return world_failure_.ok();
  const parallel::Progress::Waiting waiting(options_.world->progress());
  options_.world->all().Name("the end of what comes after the last step");
  world_failure_ = options_.world->all().Barrier();
  return world_failure_.ok();
}

void Trainer::Enter(const char* phase, parallel::Progress::Kind kind) {
  if (options_.world != nullptr) options_.world->progress().Enter(phase, state_.step, kind);
}

// Where several ranks train, they ask each other: all of them come here at the same places.
bool Trainer::Stopping() {
  constexpr uint32_t kStop = 1, kSuperseded = 2;
  uint32_t stop = options_.stop_requested && options_.stop_requested() ? kStop : 0;
  if (!log_.superseded().ok()) stop = kSuperseded;
  if (!together() && stop == kSuperseded) world_failure_ = log_.superseded();
  // What a world that was given up tells several ranks by its operations, one asks for.
  if (!together() && options_.world != nullptr && world_failure_.ok()) world_failure_ = options_.world->failure();
  if (!together() || !world_failure_.ok()) return stop != 0 || !world_failure_.ok();
  const parallel::Progress::Waiting waiting(options_.world->progress());
  options_.world->all().Name("whether to stop");
  world_failure_ = options_.world->all().AllReduce(comm::ArrayOf(std::span<uint32_t>(&stop, 1)), comm::ReduceOp::kMax);
  if (stop == kSuperseded && world_failure_.ok()) {
    world_failure_ = checkpoint::Superseded("the run folder belongs to a later generation: this one is over");
  }
  return stop != 0 || !world_failure_.ok();
}

// `sequences` windows of the validation split, 0: all of it, then beside the baselines of the same tokens.
void Trainer::EvaluateNow(int64_t sequences) {
  Enter("the evaluation", parallel::Progress::Kind::kOther);
  const double start = Now();
  const absl::StatusOr<Evaluation> evaluated = Evaluate(
      stepper_.network(), run_.corpus->validation(), state_.spec.n_ctx, sequences, [this] { return !Stopping(); },
      options_.world);
  stepper_.network().ReleaseInference();  // nothing else is at its worst meanwhile (worker/train/memory.h)
  if (!evaluated.ok()) {
    world_failure_ = evaluated.status();
    return;
  }
  FaultPoint("evaluation", state_.step);
  const Evaluation& evaluation = *evaluated;
  if (!evaluation.whole) {  // a mean over the first windows would look like one over all
    if (world_failure_.ok()) Note("the evaluation was broken off: asked to stop; filigree eval makes up for it");
    return;
  }
  telemetry::EvalRecord record;
  record.step = state_.step;
  record.loss = evaluation.loss;
  record.bits_per_byte = data::BitsPerByte(evaluation.loss, run_.corpus->validation_bytes_per_token());
  record.tokens = evaluation.tokens;
  record.seconds = Now() - start;
  record.baselines = BaselinesOf(run_.corpus->manifest());
  log_.Eval(record);
  if (first()) log_.Snapshot(TakeSnapshot(state_, *run_.pool));
}

void Trainer::SampleNow() {
  Enter("the sample", parallel::Progress::Kind::kOther);
  const config::SampleSettings& settings = run_.settings.sample;
  const data::Tokenizer& tokenizer = run_.corpus->tokenizer();
  const std::vector<uint16_t> ids = tokenizer.Encode(settings.prompt);
  SampleOptions options;
  options.tokens = settings.tokens;
  options.temperature = settings.temperature;
  options.top_p = settings.top_p;
  options.seed = static_cast<uint64_t>(run_.settings.run.seed);
  telemetry::SampleRecord record;
  record.step = state_.step;
  record.prompt = settings.prompt;
  bool whole = true;
  Generate(stepper_.network(), state_.spec, {ids.begin(), ids.end()}, options, [&](int token) {
    record.text += tokenizer.TokenBytes(token);
    whole = !Stopping();
    return whole;
  });
  stepper_.network().ReleaseInference();
  if (world_failure_.ok()) world_failure_ = stepper_.network().status();
  if (whole && world_failure_.ok()) log_.Sample(record);
}

// Commits ascend: a step up to the last of them cannot be committed, again or for the first time.
bool Trainer::NothingToCommit() const {
  return options_.fencing != nullptr && options_.fencing->resume && state_.step <= options_.fencing->resume->step;
}

absl::Status Trainer::SaveNow() {
  if (NothingToCommit()) {
    if (!recomputes_ || state_.step < run_.settings.run.steps) return absl::OkStatus();
    return absl::DataLossError(fmt::format(
        "step {} was computed again because the files of its checkpoint are lost, but it was committed before and no "
        "other takes its place; put the files back, or submit the job anew with another run.dir",
        state_.step));
  }
  Enter("the checkpoint", parallel::Progress::Kind::kOther);
  FaultPoint("checkpoint", state_.step - 1);
  const double start = Now();
  const absl::StatusOr<checkpoint::SaveResult> saved = Save();
  pending_checkpoint_seconds_ += Now() - start;
  if (IsSuperseded(saved.status())) world_failure_ = saved.status();
  if (!saved.ok()) {
    retry_save_at_ = state_.step + kStepsBeforeSaveRetry;
    if (options_.metrics != nullptr) options_.metrics->CheckpointFailed();
    return saved.status();
  }
  for (const std::string& warning : saved->warnings) Note(warning);
  log_.Checkpoint({state_.step, Now() - start, static_cast<int64_t>(saved->bytes), saved->path});
  retry_save_at_ = -1;
  run_.saved_step = state_.step;
  if (options_.fencing != nullptr) options_.fencing->resume = saved->point;
  return absl::OkStatus();
}

absl::StatusOr<checkpoint::SaveResult> Trainer::Save() {
  const int keep = static_cast<int>(run_.settings.checkpoint.keep);
  const std::string& dir = run_.settings.run.dir;
  absl::Status mine = CheckLock();
  if (together()) mine = options_.world->Agree(mine);
  if (!mine.ok()) return mine;
  run_.owed = state_.step == run_.settings.run.steps ? Owed::kSave : Owed::kNothing;
  if (!together()) return checkpoint::Save(*options_.file_system, dir, StateToSave(), keep, options_.fencing);
  // Every rank writes a share: one that has gone wrong since the last step must not get into the checkpoint to which
  // all go back.
  if (absl::Status status = stepper_.CheckReplicas(); !status.ok()) {
    world_failure_ = status;
    return status;
  }
  std::vector<checkpoint::OwnTensor> own;
  if (exchange::Residual* residual = stepper_.residual(); residual != nullptr) {
    own = UnsentTensors(*residual, stepper_.registry());
  }
  const std::vector<int> writers = WritersOf(stepper_.ownership().owners(), options_.world->grid());
  return SaveTogether(*options_.world, *options_.file_system, dir, StateToSave(), own, writers, keep, options_.fencing);
}

checkpoint::State Trainer::StateToSave() {
  checkpoint::State view = SavedView(run_);
  if (stepper_.residual() != nullptr) view.texts[checkpoint::texts::kGrid] = GridText(options_.world->grid());
  return view;
}

}  // namespace filigree::train
