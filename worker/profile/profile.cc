#include "worker/profile/profile.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "fmt/format.h"
#include "worker/checkpoint/retention.h"
#include "worker/data/loader.h"
#include "worker/run/open_run.h"
#include "worker/train/cost.h"
#include "worker/train/step.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;

constexpr int kMostSteps = 1000;  // spans are kept in memory

// Where a run is opened so that its own folder stays as it is and may be in use: gone with this object.
class Stage {
 public:
  static absl::StatusOr<std::unique_ptr<Stage>> Create() {
    std::error_code error;
    std::string name = (fs::temp_directory_path(error) / "filigree-profile-XXXXXX").string();
    if (error || ::mkdtemp(name.data()) == nullptr) {
      return absl::UnavailableError(
          fmt::format("cannot create a temporary folder like {}: set TMPDIR to a folder that can be written", name));
    }
    return std::unique_ptr<Stage>(new Stage(name));
  }
  ~Stage() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);  // follows no link
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const std::string& path() const { return path_; }

  // Settings and checkpoints of a run as if they were here.
  absl::Status Mirror(const std::string& run_dir) const {
    std::error_code error;
    fs::copy_file(StoredSettingsPath(run_dir), StoredSettingsPath(path_), error);
    const fs::path checkpoints = fs::path(run_dir) / checkpoint::kCheckpointsFolder;
    if (!error && fs::exists(checkpoints)) {
      fs::create_directory_symlink(fs::absolute(checkpoints), fs::path(path_) / checkpoint::kCheckpointsFolder, error);
    }
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(fmt::format("cannot mirror the run {} in {}: {}", run_dir, path_, error.message()));
  }

  // What was said of the stage, said of the run.
  std::string Translate(std::string text, const std::string& config) const {
    for (size_t at = text.find(path_); at != std::string::npos; at = text.find(path_, at + config.size())) {
      text.replace(at, path_.size(), config);
    }
    return text;
  }

 private:
  explicit Stage(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

absl::StatusOr<OpenedRun> Open(const ProfileOptions& options, const Stage& stage) {
  std::error_code error;
  std::string config = options.config;
  std::vector<std::string> overrides = options.overrides;
  if (fs::is_regular_file(StoredSettingsPath(config), error)) {
    if (absl::Status status = stage.Mirror(config); !status.ok()) return status;
    config = stage.path();
  } else {
    overrides.push_back("--run.dir=" + stage.path());
  }
  absl::StatusOr<OpenedRun> run = OpenRun(config, overrides);
  if (!run.ok()) {
    return absl::Status(run.status().code(), stage.Translate(std::string(run.status().message()), options.config));
  }
  for (std::string& note : run->notes) note = stage.Translate(std::move(note), options.config);
  return run;
}

// Leaves room for `wanted` steps before the run's end.
absl::Status SetBack(OpenedRun& run, int wanted) {
  const int64_t S = run.settings.run.steps;
  if (wanted > S) {
    return absl::InvalidArgumentError(
        fmt::format("{} steps are asked for, warm-up included, and the run has {}; give fewer --steps or a longer run "
                    "with --run.steps=...",
                    wanted, S));
  }
  if (run.state->step + wanted <= S) return absl::OkStatus();
  run.notes.push_back(
      fmt::format("the run is at step {} of {}: profiled is what its last {} steps cost with these "
                  "weights",
                  run.state->step, S, wanted));
  run.state->step = S - wanted;
  return absl::OkStatus();
}

// The steps of the trainer's loop, without what comes at intervals.
class Profiler {
 public:
  Profiler(OpenedRun& run, Profile& profile)
      : run_(run),
        profile_(profile),
        loader_(run.corpus->train(), run.state->spec.n_ctx, static_cast<uint64_t>(run.settings.run.seed)),
        stepper_(run.settings, *run.state, *run.pool),
        tokens_(static_cast<size_t>(run.settings.train.batch) * run.state->spec.n_ctx) {}

  absl::Status Steps(int count, bool on_record) {
    for (int i = 0; i < count; ++i) {
      ProfiledStep step{.step = run_.state->step, .start_ns = kernels::TraceNow()};
      LoadTokens();
      step.data_end_ns = kernels::TraceNow();
      const absl::StatusOr<StepResult> stepped =
          stepper_.Step(tokens_.data(), static_cast<int>(run_.settings.train.batch), run_.state->spec.n_ctx);
      step.end_ns = kernels::TraceNow();
      if (!stepped.ok()) return stepped.status();
      const StepResult& result = *stepped;
      if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
        return absl::InternalError(
            fmt::format("step {}: loss {} and gradient norm {} are not finite; such a step is "
                        "no measure of others",
                        step.step, result.loss, result.gradient_norm));
      }
      if (on_record) Record(step, result);
    }
    return absl::OkStatus();
  }

 private:
  void LoadTokens() {
    const int n_ctx = run_.state->spec.n_ctx;
    for (int64_t i = 0; i < run_.settings.train.batch; ++i) {
      loader_.Sequence(run_.state->position + i, tokens_.data() + i * n_ctx);
    }
  }

  void Record(const ProfiledStep& step, const StepResult& result) {
    profile_.steps.push_back(step);
    profile_.wall_seconds += 1e-9 * static_cast<double>(step.end_ns - step.start_ns);
    profile_.phases.data += 1e-9 * static_cast<double>(step.data_end_ns - step.start_ns);
    profile_.phases.forward += result.forward_seconds;
    profile_.phases.backward += result.backward_seconds;
    profile_.phases.optimizer += result.optimizer_seconds;
    profile_.phases.topk += result.topk_seconds;
    profile_.density = result.density;
    profile_.embedding_density = result.embedding_density;
    const TrainState& state = *run_.state;
    const StepCost cost = CostOfStep(
        state.spec, state.registry, *state.layout, [&](int tensor) { return state.masks.nonzeros(tensor); },
        run_.settings.train.batch, state.spec.n_ctx);
    profile_.speed_of_light_seconds += profile_.machine.SecondsAtBest(cost.flops, cost.bytes);
  }

  OpenedRun& run_;
  Profile& profile_;
  data::Loader loader_;
  Stepper stepper_;
  std::vector<int32_t> tokens_;
};

absl::Status CheckOptions(const ProfileOptions& options) {
  if (options.steps < 1 || options.steps > kMostSteps) {
    return absl::InvalidArgumentError(
        fmt::format("--steps is {}; it takes whole numbers from 1 to {}", options.steps, kMostSteps));
  }
  if (options.warmup < 0 || options.warmup > kMostSteps) {
    return absl::InvalidArgumentError(
        fmt::format("--warmup is {}; it takes whole numbers from 0 to {}", options.warmup, kMostSteps));
  }
  return absl::OkStatus();
}

}  // namespace

double Profile::kernel_seconds() const {
  double sum = 0;
  for (const KernelTime& kernel : kernels) sum += kernel.seconds;
  return sum;
}

double Profile::off_core_seconds() const {
  double sum = 0;
  for (const KernelTime& kernel : kernels) sum += kernel.off_core_seconds;
  return sum;
}

absl::StatusOr<Profile> ProfileRun(const ProfileOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<Stage>> stage = Stage::Create();
  if (!stage.ok()) return stage.status();
  absl::StatusOr<OpenedRun> run = Open(options, **stage);
  if (!run.ok()) return run.status();
  if (absl::Status status = SetBack(*run, options.warmup + options.steps); !status.ok()) return status;

  Profile profile;
  profile.run = run->settings.run.name;
  if (profile.run == fs::path((*stage)->path()).filename()) profile.run = options.config;  // named after its folder
  profile.notes = run->notes;
  profile.machine = machine::MeasureMachine(*run->pool);
  profile.tokens_per_step = run->settings.train.batch * run->state->spec.n_ctx;
  Profiler profiler(*run, profile);
  if (absl::Status status = profiler.Steps(options.warmup, /*on_record=*/false); !status.ok()) return status;
  kernels::TakeTrace();
  kernels::StartTrace();
  const absl::Status status = profiler.Steps(options.steps, /*on_record=*/true);
  kernels::StopTrace();
  profile.trace = kernels::TakeTrace();
  if (!status.ok()) return status;
  profile.kernels = SumKernels(profile.trace, profile.machine);
  return profile;
}

}  // namespace filigree::train
