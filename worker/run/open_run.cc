#include "worker/run/open_run.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "fmt/format.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/retention.h"
#include "worker/checkpoint/texts.h"
#include "worker/checkpoint/ticking_files.h"
#include "worker/config/keys.h"
#include "worker/config/load.h"
#include "worker/config/value.h"
#include "worker/data/loader.h"
#include "worker/exchange/state_digest.h"
#include "worker/machine/memory.h"
#include "worker/mask/min_alive.h"
#include "worker/model/spec.h"
#include "worker/parallel/threads.h"
#include "worker/run/start_from.h"
#include "worker/train/candidates.h"
#include "worker/train/memory.h"
#include "worker/train/ownership.h"
#include "worker/train/rank_layout.h"
#include "worker/train/replicas.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;

bool IsFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsFile(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

absl::Status CreateRunFolder(const std::string& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (!error) return absl::OkStatus();
  const std::string message =
      fmt::format("cannot create the run folder {}: {}; choose another with --run.dir=...", dir, error.message());
  if (error == std::errc::permission_denied) return absl::PermissionDeniedError(message);
  const bool in_the_way = error == std::errc::not_a_directory || error == std::errc::file_exists;
  return in_the_way ? absl::FailedPreconditionError(message) : absl::UnavailableError(message);
}

// A checkpoint must be of this corpus: its position means nothing in another.
absl::Status CheckCorpus(const checkpoint::Checkpoint& from, const data::Corpus& corpus) {
  const absl::StatusOr<std::string> digest = from.Text(checkpoint::texts::kCorpusDigest);
  if (!digest.ok()) return digest.status();
  if (*digest == corpus.digest()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{} was trained on a corpus with digest {:.12}, but {} has {:.12}; prepare the same input again, or "
                  "start a new run in another folder",
                  from.path(), *digest, corpus.dir(), corpus.digest()));
}

// Where the folder has lost its config.toml nobody has compared the settings yet (WantedSettings): a checkpoint has
// them too.
absl::Status CheckSettings(const checkpoint::Checkpoint& from, const config::Settings& settings) {
  if (IsFile(StoredSettingsPath(settings.run.dir))) return absl::OkStatus();
  const absl::StatusOr<config::Settings> stored = StoredSettings(from);
  return stored.ok() ? config::CheckResume(*stored, settings) : stored.status();
}

bool SameFolder(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

// Bytes that a rank may use of this machine.
int64_t Available(const parallel::World* world) {
  return machine::UsableMemory() / (world == nullptr ? 1 : world->ranks_on_this_host());
}

// Weights of step 0, drawn or another model's.
absl::Status Begin(const model::ModelSpec& spec, int64_t available, OpenedRun& run) {
  if (!run.settings.init.from.empty()) {
    absl::StatusOr<std::unique_ptr<TrainState>> state =
        StartFrom(run.settings, *run.corpus, spec, *run.pool, available, run.notes);
    if (!state.ok()) return state.status();
    run.state = *std::move(state);
    return absl::OkStatus();
  }
  if (run.settings.sparsity.regime == config::Regime::kActive) {
    run.state = BeginActive(spec, run.settings, *run.pool);
    return absl::OkStatus();
  }
  run.state = std::make_unique<TrainState>(spec, run.settings);
  model::InitialiseWeights(run.state->registry, static_cast<uint64_t>(run.settings.run.seed), *run.pool,
                           run.state->weights);
  return absl::OkStatus();
}

// A job that has committed nothing begins; what a run before it has left there is not its own, and its first save would
// remove it.
absl::Status RefuseOtherRun(const std::string& run_dir) {
  const auto steps = checkpoint::ListSteps(checkpoint::RealFileSystem(), run_dir);
  if (absl::IsNotFound(steps.status())) return absl::OkStatus();
  if (!steps.ok()) return steps.status();
  for (const checkpoint::StepFolder& step : *steps) {
    if (!step.committed) continue;
    return absl::FailedPreconditionError(
        fmt::format("{} holds the checkpoints of another run, the newest is {}, and the coordinator knows none of this "
                    "job; give the job another run.dir (init.from = \"{}\" begins with those weights), or go on with "
                    "that run by hand: filigree train {}",
                    run_dir, step.path, run_dir, run_dir));
  }
  return absl::OkStatus();
}

// Where the run goes on. NotFound: it begins.
absl::StatusOr<checkpoint::Checkpoint> FindCheckpoint(checkpoint::FileSystem& files, const Fencing* fencing,
                                                      int64_t most_step, OpenedRun& run) {
  const std::string& run_dir = run.settings.run.dir;
  if (fencing == nullptr) return checkpoint::LoadNewest(files, run_dir, &run.notes, most_step);
  if (fencing->resume) return checkpoint::LoadCommitted(files, run_dir, *fencing->resume, &run.notes, most_step);
  absl::Status other = RefuseOtherRun(run_dir);
  return other.ok() ? absl::NotFoundError(fmt::format("{} has no checkpoint yet", run_dir)) : other;
}

// The checkpoint it goes on from, of a step up to most_step, or the beginning.
absl::Status LoadOrBegin(const model::ModelSpec& spec, checkpoint::FileSystem& files, const Fencing* fencing,
                         const PlaceInGrid& place, int64_t available, int64_t most_step, OpenedRun& run) {
  run.state = nullptr;  // of an attempt before; memory is for one
  run.resumed_from.reset();
  absl::StatusOr<checkpoint::Checkpoint> newest = FindCheckpoint(files, fencing, most_step, run);
  if (newest.ok()) {
    if (absl::Status status = CheckCorpus(*newest, *run.corpus); !status.ok()) return status;
    if (absl::Status status = CheckSettings(*newest, run.settings); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<TrainState>> state =
        Restore(*newest, spec, run.settings, *run.pool, run.notes, place);
    if (!state.ok()) return state.status();
    run.state = *std::move(state);
    run.resumed = true;
    run.notes.push_back(fmt::format("resumed from {} at step {}", newest->path(), newest->step()));
    if (!newest->OwnRanks().empty()) run.resumed_from = *std::move(newest);
    return absl::OkStatus();
  }
  if (!absl::IsNotFound(newest.status())) return newest.status();
  return Begin(spec, available, run);
}

// The step that each rank would go on from, and what it was told on the way there.
struct Found {
  int64_t step = 0;
  std::string note;
};
absl::StatusOr<std::vector<Found>> WhatRanksFound(parallel::World& world, const OpenedRun& run) {
  const parallel::Progress::Waiting waiting(world.progress());
  world.all().Name("the step that the run goes on from");
  const std::string note = run.notes.empty() ? "" : run.notes.front();
  const auto words = world.all().AllGatherStrings(fmt::format("{} {}", run.state->step, note));
  if (!words.ok()) return words.status();
  std::vector<Found> found(words->size());
  for (size_t rank = 0; rank < found.size(); ++rank) {
    const std::string& word = (*words)[rank];
    const size_t space = std::min(word.find(' '), word.size());
    if (!absl::SimpleAtoi(word.substr(0, space), &found[rank].step)) {
      return absl::InternalError(fmt::format("rank {} says '{}' of its step", rank, word));
    }
    found[rank].note = word.substr(std::min(space + 1, word.size()));
  }
  return found;
}

// Where a host sees a damaged copy of the newest checkpoint, or a list of the folder that is old, all ranks take the
// newest that each of them can. Not the beginning: who sees none at all is in the wrong place.
absl::Status TakeTheSame(parallel::World& world, const std::function<absl::Status(int64_t most_step)>& load,
                         OpenedRun& run) {
  while (true) {
    const auto found = WhatRanksFound(world, run);
    if (!found.ok()) return found.status();
    const auto by_step = [](const Found& a, const Found& b) { return a.step < b.step; };
    const auto [behind, ahead] = std::minmax_element(found->begin(), found->end(), by_step);
    const int64_t least = behind->step;
    if (least == ahead->step || least == 0) return absl::OkStatus();
    const auto rank = static_cast<int>(behind - found->begin());
    run.notes.push_back(fmt::format("rank {} on {} cannot read the checkpoint of step {}, so all go back to {}: {}",
                                    rank, world.all().host(rank), ahead->step, least, behind->note));
    absl::Status loaded = run.state->step > least ? load(least) : absl::OkStatus();
    if (loaded = world.Agree(loaded); !loaded.ok()) return loaded;
  }
}

// What all ranks must begin with alike. The state: init.from may name a run that goes on saving meanwhile.
absl::Status CompareStates(const OpenedRun& run, parallel::World& world) {
  const TrainState& state = *run.state;
  const std::vector<int> owners = OwnersIn(run.settings, state.registry, world.grid());
  const std::string digest = exchange::Hex(exchange::Together(DigestsOf(state, *run.pool, owners)));
  return world.Compare({{"the step that the run goes on from", std::to_string(state.step)},
                        {"the position in the corpus", std::to_string(state.position)},
                        {"the state that it begins with (its digest)", digest}});
}

// Its writer may have been lost between the commit and the mark. The run can do without.
void MarkResumed(const CommitPoint& point, OpenedRun& run) {
  checkpoint::FileSystem& files = checkpoint::RealFileSystem();
  const std::string folder = fmt::format("{}/{}/{}", run.settings.run.dir, checkpoint::kCheckpointsFolder,
                                         checkpoint::StepFolderName(point.step, point.generation));
  if (run.state->step != point.step || checkpoint::SaysCommitted(files, folder, point).value_or(false)) return;
  const absl::Status marked = checkpoint::MarkCommitted(files, folder, point);
  if (!marked.ok()) run.notes.push_back(std::string(marked.message()));
}

absl::Status OpenCorpus(const std::function<void()>& tick, OpenedRun& run) {
  if (run.corpus == nullptr) {
    absl::StatusOr<std::unique_ptr<data::Corpus>> corpus = data::Corpus::Open(run.settings.data.dir, tick);
    if (!corpus.ok()) return corpus.status();
    run.corpus = *std::move(corpus);
  }
  const int n_ctx = static_cast<int>(run.settings.model.n_ctx);
  if (absl::Status status = data::Loader::Check(run.corpus->train(), n_ctx); !status.ok()) return status;
  return run.settings.eval.every > 0 ? data::Loader::Check(run.corpus->validation(), n_ctx) : absl::OkStatus();
}

// Some newcomers are for studies: nobody gathers what they need from several ranks.
absl::Status CheckNewcomers(const config::SparsitySettings& s, const parallel::World* world) {
  const bool alone = s.newcomers == config::Newcomers::kVotes || s.newcomers == config::Newcomers::kGradient;
  const bool asked = s.regime == config::Regime::kActive && s.refresh_every > 0;
  if (!alone || !asked || world == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "sparsity.newcomers = \"{}\" is for one rank, and {} were started; take \"norms\", \"random\" or \"proposals\"",
      s.newcomers == config::Newcomers::kVotes ? "votes" : "gradient", world->size()));
}

// The largest of all entries are found by 32-bit indices.
absl::Status CheckExchange(const model::ModelSpec& spec, const config::Settings& settings) {
  const config::Exchange exchange = settings.parallel.exchange;
  if (exchange != config::Exchange::kTopK && exchange != config::Exchange::kBalanced) return absl::OkStatus();
  const model::Registry registry(spec);
  const int64_t floats = RankLayout(registry, settings, registry).floats();
  if (floats < UINT32_MAX) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("parallel.exchange \"{}\" is for models of fewer than {} entries, and this one has {}; take \"tree\"",
                  exchange == config::Exchange::kTopK ? "top-k" : "balanced", UINT32_MAX, floats));
}

// The step from which memory is to be had. (A checkpoint that turns out to be damaged is passed over for an older one,
// which may need more; nobody knows before it has been read.)
int64_t FirstStep(const config::Settings& settings, const Fencing* fencing) {
  if (fencing == nullptr) return StepGoneOnFrom(settings.run.dir);
  return fencing->resume ? fencing->resume->step : 0;
}

// Corpus, memory and, on the first rank, the folder and its lock.
absl::Status Prepare(parallel::World* world, const OpenOptions& options, const std::function<void()>& tick,
                     OpenedRun& run, std::optional<model::ModelSpec>& spec) {
  if (absl::Status status = CheckNewcomers(run.settings.sparsity, world); !status.ok()) return status;
  if (absl::Status status = OpenCorpus(tick, run); !status.ok()) return status;
  absl::StatusOr<model::ModelSpec> made = model::MakeSpec(run.settings.model, run.corpus->manifest().vocab);
  if (!made.ok()) return made.status();
  spec.emplace(*std::move(made));
  if (absl::Status status = CheckExchange(*spec, run.settings); !status.ok()) return status;
  absl::Status fits =
      CheckMemory(*spec, run.settings, Available(world), world == nullptr ? parallel::Grid() : world->grid(),
                  world == nullptr ? 0 : world->rank(), FirstStep(run.settings, options.fencing));
  if (!fits.ok() || (world != nullptr && !world->first())) return fits;
  if (absl::Status status = CreateRunFolder(run.settings.run.dir); !status.ok()) return status;
  return TakeLock(run.settings.run.dir, options.fencing, run.lock, options.lock_patience, world);
}

// What must be the same on all ranks before the first step.
std::vector<parallel::World::Field> FieldsToCompare(const OpenedRun& run, const std::string& program,
                                                    const Fencing* fencing) {
  std::vector<parallel::World::Field> fields = {{"program", program}};
  for (const config::Key& key : config::Keys()) {
    // What may differ from machine to machine.
    if (key.name == "run.threads" || key.name == "data.dir" || key.name.starts_with("telemetry.")) continue;
    fields.push_back({key.name, config::FormatValue(key, run.settings)});
  }
  fields.push_back({"the corpus (its digest)", run.corpus->digest()});
  fields.push_back({"the generation", std::to_string(fencing == nullptr ? 0 : fencing->generation)});
  const std::string commit = fencing != nullptr && fencing->resume ? checkpoint::CommittedText(*fencing->resume) : "";
  fields.push_back({"the last commit", commit});
  return fields;
}

}  // namespace

absl::Status TakeLock(const std::string& run_dir, const Fencing* fencing, std::optional<checkpoint::RunLock>& lock,
                      double patience, parallel::World* world) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  checkpoint::RunLock::Generation generation;
  if (fencing != nullptr) generation = {fencing->generation, fencing->job};
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
  absl::StatusOr<checkpoint::RunLock> taken = checkpoint::RunLock::Acquire(run_dir, generation);
  while (absl::IsFailedPrecondition(taken.status()) && std::chrono::steady_clock::now() < end) {
    if (world != nullptr) world->progress().Enter(kWaitsForLock, 0, parallel::Progress::Kind::kOther);
    std::this_thread::sleep_for(kPause);
    taken = checkpoint::RunLock::Acquire(run_dir, generation);
  }
  if (!taken.ok()) return taken.status();
  lock.emplace(*std::move(taken));
  return absl::OkStatus();
}

int64_t StepGoneOnFrom(const std::string& run_dir) {
  const auto steps = checkpoint::ListSteps(checkpoint::RealFileSystem(), run_dir);
  if (!steps.ok()) return 0;
  for (const checkpoint::StepFolder& step : *steps) {
    if (step.committed) return step.step;
  }
  return 0;
}

std::string StoredSettingsPath(const std::string& run_dir) { return run_dir + "/config.toml"; }

// The settings wanted now; where the folder holds a run, they must agree with what it was started with.
absl::StatusOr<config::Settings> WantedSettings(const std::string& config, const std::vector<std::string>& overrides) {
  const bool is_run = IsFolder(config);
  if (is_run && !IsFile(StoredSettingsPath(config))) {
    return absl::NotFoundError(
        fmt::format("{} is a folder without config.toml, so it holds no run; give the TOML file of a new run", config));
  }
  const std::string path = is_run ? StoredSettingsPath(config) : config;
  const absl::StatusOr<std::string> named = config::RunDirOf(path, overrides);
  if (!named.ok()) return named.status();
  const bool asked = std::any_of(overrides.begin(), overrides.end(), [](std::string_view text) {
    if (text.starts_with("--")) text.remove_prefix(2);
    return text.starts_with("run.dir=");
  });
  if (is_run && asked && !SameFolder(*named, config)) {
    return absl::InvalidArgumentError(fmt::format(
        "--run.dir={}: {} is a run, which goes on where it is; copy the folder and train the copy, or begin a "
        "new run with its weights by init.from",
        *named, config));
  }
  const std::string dir = is_run ? config : *named;  // it may have moved
  absl::StatusOr<config::Settings> stored = absl::NotFoundError("no run has begun there");
  if (!dir.empty() && IsFile(StoredSettingsPath(dir))) {
    stored = config::Load(StoredSettingsPath(dir));
    if (!stored.ok()) return stored.status();
  }
  absl::StatusOr<config::Settings> wanted = config::Load(path, overrides, stored.ok() ? &*stored : nullptr);
  if (!wanted.ok()) return wanted;
  if (is_run) wanted->run.dir = config;
  if (absl::Status status = config::RequirePaths(*wanted); !status.ok()) return status;
  if (stored.ok()) {
    if (absl::Status status = config::CheckResume(*stored, *wanted); !status.ok()) return status;
  }
  return wanted;
}

absl::StatusOr<OpenedRun> OpenRun(const std::string& config, const std::vector<std::string>& overrides) {
  absl::StatusOr<config::Settings> settings = WantedSettings(config, overrides);
  if (!settings.ok()) return settings.status();
  return OpenRun(*std::move(settings));
}

absl::StatusOr<OpenedRun> OpenRun(config::Settings settings, parallel::World* world, OpenOptions options) {
  parallel::World* const others = world != nullptr && world->size() > 1 ? world : nullptr;
  const Fencing* const fencing = options.fencing;
  const std::function<void()> tick = [world] {
    if (world != nullptr) world->progress().Tick();
  };
  OpenedRun run;
  run.settings = std::move(settings);
  run.corpus = std::move(options.corpus);
  std::optional<model::ModelSpec> spec;
  absl::Status status = Prepare(others, options, tick, run, spec);
  if (others != nullptr) status = others->Agree(status);
  if (status.ok() && others != nullptr) status = others->Compare(FieldsToCompare(run, options.program, fencing));
  if (!status.ok()) return status;

  run.pool = std::make_unique<kernels::ThreadPool>(
      parallel::ThreadsOfRank(run.settings.run, others == nullptr ? 1 : others->ranks_on_this_host()));
  if (world != nullptr) run.pool->CountInto(world->progress().work_done());  // to draw weights may take minutes
  checkpoint::TickingFiles files(options.files == nullptr ? checkpoint::RealFileSystem() : *options.files, tick);
  const PlaceInGrid place = world == nullptr ? PlaceInGrid() : PlaceInGrid{world->grid(), world->rank()};
  const auto load = [&](int64_t most_step) {
    return LoadOrBegin(*spec, files, fencing, place, Available(others), most_step, run);
  };
  status = load(INT64_MAX);
  if (others != nullptr) status = others->Agree(status);
  if (status.ok() && others != nullptr) status = TakeTheSame(*others, load, run);
  if (!status.ok()) return status;
  if (run.lock.has_value() && fencing != nullptr && fencing->resume) MarkResumed(*fencing->resume, run);
  if (others != nullptr) {
    if (status = CompareStates(run, *others); !status.ok()) return status;
  }
  const config::SparsitySettings& sparsity = run.settings.sparsity;
  for (std::string& note : mask::MinAliveNotes(run.state->registry, {sparsity.density, sparsity.embedding_density},
                                               sparsity.min_alive, sparsity.scope)) {
    run.notes.push_back(std::move(note));
  }
  return run;
}

}  // namespace filigree::train
