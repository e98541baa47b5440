#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hashing.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/retention.h"
#include "worker/checkpoint/stored_tensors.h"

namespace filigree::checkpoint {
namespace {

// Opens a data file and compares size and hash with what the manifest says.
absl::StatusOr<std::unique_ptr<ReadableFile>> OpenVerified(FileSystem& files, const std::string& path,
                                                           const ManifestFile& expected) {
  auto file = files.OpenForRead(path);
  if (absl::IsNotFound(file.status())) return absl::DataLossError(fmt::format("{} is missing", path));
  if (!file.ok()) return file.status();
  if ((*file)->size() != expected.bytes) {
    return absl::DataLossError(fmt::format("{} has {} bytes, its manifest says {}: it was cut or damaged", path,
                                           (*file)->size(), expected.bytes));
  }
  auto hash = Xxh3Hex(**file);
  if (!hash.ok()) return hash.status();
  if (*hash != expected.xxh3_128) {
    return absl::DataLossError(fmt::format("{} does not match its hash in the manifest: it was damaged", path));
  }
  return file;
}

absl::Status OpenData(FileSystem& files, const std::string& folder, const ManifestFile& expected, DataFiles& all) {
  DataFile data;
  data.path = folder + "/" + expected.name;
  auto file = OpenVerified(files, data.path, expected);
  if (!file.ok()) return file.status();
  data.file = std::move(*file);
  auto header = ReadSafetensorsHeader(*data.file, data.path);
  if (!header.ok()) return header.status();
  data.header = std::move(*header);
  return all.Add(std::move(data));
}

// Everything that the manifest names.
absl::Status OpenAll(FileSystem& files, const std::string& folder, const Manifest& manifest, StoredTensors& stored) {
  for (const ManifestFile& file : manifest.files) {
    DataFiles& all = file.role == "weights"   ? stored.weights
                     : file.role == "moments" ? stored.moments
                                              : stored.own[RankOfOwnRole(file.role)];
    if (absl::Status status = OpenData(files, folder, file, all); !status.ok()) return status;
  }
  if (!stored.weights.empty()) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}/{} names no file of weights", folder, kManifestName));
}

// Whether a checkpoint is lost, or could not be read now: by a disk that does not answer, without permission, or by a
// program that is too old. Only the first is a reason to go on without it, as saves to come would remove it.
bool IsLost(const absl::Status& why) { return absl::IsDataLoss(why) || absl::IsNotFound(why); }

absl::Status NotNow(const std::string& path, const absl::Status& why) {
  // Too many open files, no memory: it is this process that lacks something.
  if (absl::IsResourceExhausted(why)) {
    return absl::Status(why.code(),
                        fmt::format("{}; nothing says that the checkpoint {} is damaged: free what is lacking "
                                    "(open files: ulimit -n) and try again",
                                    std::string(why.message()), path));
  }
  return absl::Status(why.code(), fmt::format("{}; nothing says that the checkpoint {} is damaged: mend that and try "
                                              "again, or move it away to go on from the one before",
                                              std::string(why.message()), path));
}

std::string PassedOver(const std::string& path, const absl::Status& why) {
  return fmt::format("checkpoint {} passed over: {}", path, std::string(why.message()));
}

// The checkpoint of a commit from its folder, or why it is not there.
absl::StatusOr<Checkpoint> LoadPoint(FileSystem& files, const std::string& folder, const CommitPoint& point) {
  auto checkpoint = Checkpoint::Load(files, folder);
  if (!checkpoint.ok()) return checkpoint;
  if (checkpoint->digest() == point.digest && checkpoint->step() == point.step) return checkpoint;
  return absl::DataLossError(fmt::format("{}/{} has the digest {}, the one that was committed has {}", folder,
                                         kManifestName, checkpoint->digest(), point.digest));
}

// What a step folder holds, if it counts.
absl::StatusOr<Checkpoint> LoadStep(FileSystem& files, const StepFolder& step) {
  if (!step.whole) return absl::DataLossError("it has no manifest: its save was interrupted");
  if (!step.committed) return absl::DataLossError("its generation has not committed it");
  auto checkpoint = Checkpoint::Load(files, step.path);
  if (!checkpoint.ok() || step.generation == 0) return checkpoint;
  const auto said = SaysCommitted(files, step.path, {step.generation, step.step, checkpoint->digest()});
  if (!said.ok()) return said.status();
  if (*said) return checkpoint;
  return absl::DataLossError(fmt::format("what was committed there is not this: see {}/{}", step.path, kCommittedName));
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Load(FileSystem& files, const std::string& folder) {
  const std::string path = folder + "/" + kManifestName;
  auto bytes = ReadFile(files, path, kMaxManifestBytes);
  if (!bytes.ok()) return bytes.status();
  auto manifest = ParseManifest(*bytes, path);
  if (!manifest.ok()) return manifest.status();
  auto stored = std::make_shared<StoredTensors>();
  if (absl::Status opened = OpenAll(files, folder, *manifest, *stored); !opened.ok()) return opened;
  Checkpoint checkpoint;
  for (const ManifestTensor& tensor : manifest->tensors) {
    absl::Status status = stored->CheckComponents(tensor);
    if (!status.ok()) return status;
    checkpoint.tensors_.push_back({tensor.name, tensor.shape, tensor.weight != WeightStorage::kDense,
                                   tensor.mask != MaskStorage::kNone, tensor.moments, tensor.kept, tensor.candidates});
  }
  stored->tensors = std::move(manifest->tensors);
  checkpoint.path_ = folder;
  checkpoint.digest_ = Xxh3Hex(*bytes);
  checkpoint.step_ = manifest->step;
  checkpoint.position_ = manifest->position;
  checkpoint.seed_ = manifest->seed;
  checkpoint.texts_ = std::move(manifest->texts);
  checkpoint.extras_ = std::move(manifest->extras);
  checkpoint.stored_ = std::move(stored);
  return checkpoint;
}

absl::StatusOr<Checkpoint> LoadNewest(FileSystem& files, const std::string& run_dir, std::vector<std::string>* warnings,
                                      int64_t most_step) {
  auto steps = ListSteps(files, run_dir);
  if (absl::IsNotFound(steps.status()) || (steps.ok() && steps->empty())) {
    return absl::NotFoundError(fmt::format("{} has no checkpoint yet", run_dir));
  }
  if (!steps.ok()) return steps.status();
  std::string first;
  bool any_committed = false;
  for (const StepFolder& step : *steps) {
    any_committed = any_committed || step.committed;
    if (step.step > most_step) continue;
    auto checkpoint = LoadStep(files, step);
    if (checkpoint.ok()) return checkpoint;
    if (!IsLost(checkpoint.status())) return NotNow(step.path, checkpoint.status());
    const std::string warning = PassedOver(step.path, checkpoint.status());
    if (first.empty()) first = warning;
    if (warnings != nullptr) warnings->push_back(warning);
  }
  if (first.empty() && !steps->empty() && steps->back().step > most_step) {
    return absl::DataLossError(
        fmt::format("{} has no checkpoint up to step {}, the newest one that another rank can read; the ranks must see "
                    "the same files",
                    run_dir, most_step));
  }
  // Its next save would remove them.
  const auto lost = std::count_if(steps->begin(), steps->end(), [](const StepFolder& s) { return s.generation == 0; });
  if (!any_committed && lost > 1) {
    return absl::DataLossError(fmt::format(
        "{} has {} checkpoints, and none of them has its {}: a run that is interrupted leaves one like that "
        "at most, so files are missing; {}. Copy the run again, or remove {}/{} to begin anew",
        run_dir, lost, kManifestName, first, run_dir, kCheckpointsFolder));
  }
  // The very first save was interrupted: nothing was promised, so nothing is lost.
  if (!any_committed) return absl::NotFoundError(fmt::format("{} has no whole checkpoint yet", run_dir));
  return absl::DataLossError(
      fmt::format("none of the {} checkpoints of {} can be used; {}", steps->size(), run_dir, first));
}

absl::StatusOr<Checkpoint> LoadCommitted(FileSystem& files, const std::string& run_dir, const CommitPoint& point,
                                         std::vector<std::string>* warnings, int64_t most_step) {
  const std::string folder =
      fmt::format("{}/{}/{}", run_dir, kCheckpointsFolder, StepFolderName(point.step, point.generation));
  auto checkpoint =
      point.step > most_step ? absl::DataLossError("some ranks cannot read it") : LoadPoint(files, folder, point);
  if (checkpoint.ok()) return checkpoint;
  if (!IsLost(checkpoint.status())) return NotNow(folder, checkpoint.status());
  const std::string lost = fmt::format("the last checkpoint that was committed, step {} of generation {}, is lost: {}",
                                       point.step, point.generation, std::string(checkpoint.status().message()));
  if (warnings != nullptr) warnings->push_back(lost);
  auto steps = ListSteps(files, run_dir);
  if (!steps.ok() && !absl::IsNotFound(steps.status())) return steps.status();
  for (const StepFolder& step : steps.ok() ? *steps : std::vector<StepFolder>()) {
    if (step.generation == 0 || step.generation > point.generation || step.step >= point.step) continue;
    if (step.step > most_step) continue;
    checkpoint = LoadStep(files, step);
    if (checkpoint.ok()) return checkpoint;
    if (!IsLost(checkpoint.status())) return NotNow(step.path, checkpoint.status());
    if (warnings != nullptr) warnings->push_back(PassedOver(step.path, checkpoint.status()));
  }
  return absl::DataLossError(
      fmt::format("{}; {} has no older one that was committed and is whole: put a copy of {} back, or submit the job "
                  "anew with another run.dir",
                  lost, run_dir, folder));
}

absl::StatusOr<Checkpoint> LoadAny(FileSystem& files, const std::string& path, std::vector<std::string>* warnings) {
  const auto manifest = files.Exists(path + "/" + kManifestName);
  const auto folder = files.Exists(path + "/" + kCheckpointsFolder), settings = files.Exists(path + "/" + kRunSettings);
  for (const auto& there : {manifest, folder, settings}) {
    if (!there.ok()) return there.status();
  }
  if (*manifest) return Checkpoint::Load(files, path);
  if (*folder) return LoadNewest(files, path, warnings);
  if (*settings) {
    return absl::NotFoundError(fmt::format(
        "{} has no checkpoint yet: a run writes its first after checkpoint.every steps, or when it is asked "
        "to stop",
        path));
  }
  return absl::NotFoundError(fmt::format("{} is neither a checkpoint (no {}) nor a run folder (no {}/)", path,
                                         kManifestName, kCheckpointsFolder));
}

const StoredTensor* Checkpoint::Find(const std::string& name) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const StoredTensor& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

absl::StatusOr<std::string> Checkpoint::Text(const std::string& key) const {
  const auto found = texts_.find(key);
  if (found == texts_.end()) return absl::NotFoundError(fmt::format("checkpoint {} has no '{}'", path_, key));
  return found->second;
}

absl::Status Checkpoint::CheckModel(const std::vector<NamedShape>& expected) const {
  std::vector<std::string> differences;
  for (const NamedShape& tensor : expected) {
    const StoredTensor* stored = Find(tensor.name);
    if (stored == nullptr) {
      differences.push_back(fmt::format("it lacks {} {}", tensor.name, ShapeText(tensor.shape)));
    } else if (stored->shape != tensor.shape) {
      differences.push_back(
          fmt::format("{} is {} there, {} here", tensor.name, ShapeText(stored->shape), ShapeText(tensor.shape)));
    }
  }
  for (const StoredTensor& stored : tensors_) {
    const bool known = std::any_of(expected.begin(), expected.end(),
                                   [&](const NamedShape& tensor) { return tensor.name == stored.name; });
    if (!known) differences.push_back(fmt::format("it has {} {}", stored.name, ShapeText(stored.shape)));
  }
  if (differences.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(differences.size(), 3);
  std::string text;
  for (size_t i = 0; i < shown; ++i) text += (i == 0 ? "" : "; ") + differences[i];
  if (shown < differences.size()) text += fmt::format("; and {} more differences", differences.size() - shown);
  return absl::FailedPreconditionError(
      fmt::format("{} is a checkpoint of another model: {}; use the settings it was made with", path_, text));
}

absl::StatusOr<size_t> Checkpoint::Require(const std::string& name, const Shape& shape) const {
  const StoredTensor* found = Find(name);
  if (found == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("{} has no tensor {}: it is a checkpoint of another model", path_, name));
  }
  if (found->shape != shape) {
    return absl::FailedPreconditionError(
        fmt::format("{}: tensor {} is {}, {} was expected: it is a checkpoint of another model", path_, name,
                    ShapeText(found->shape), ShapeText(shape)));
  }
  return static_cast<size_t>(found - tensors_.data());
}

absl::Status Checkpoint::CopyInto(const std::string& name, const Shape& shape, float* weight, float* m, float* v,
                                  uint64_t* kept) const {
  const auto index = Require(name, shape);
  if (!index.ok()) return index.status();
  const ManifestTensor& tensor = stored_->tensors[*index];
  absl::Status status = stored_->ReadWeight(tensor, weight, kept);
  if (status.ok() && m != nullptr) status = stored_->ReadMoment(tensor, ".m", m);
  if (status.ok() && v != nullptr) status = stored_->ReadMoment(tensor, ".v", v);
  return status;
}

std::vector<int> Checkpoint::OwnRanks() const {
  std::vector<int> ranks;
  for (const auto& [rank, files] : stored_->own) ranks.push_back(rank);
  return ranks;
}

absl::Status Checkpoint::CopyOwn(int rank, const std::string& name, std::span<float> to) const {
  const auto files = stored_->own.find(rank);
  const DataFiles::Component found = files == stored_->own.end() ? DataFiles::Component() : files->second.Find(name);
  if (found.entry == nullptr || found.entry->dtype != DType::kF32 ||
      found.entry->shape != Shape{static_cast<int64_t>(to.size())}) {
    return absl::FailedPreconditionError(
        fmt::format("{} has no {} of rank {} with {} values", path_, name, rank, to.size()));
  }
  return found.in->file->ReadAt(found.entry->begin, to.data(), to.size_bytes());
}

absl::StatusOr<CandidateTensor> Checkpoint::CopyCandidates(const std::string& name, const Shape& shape) const {
  const auto index = Require(name, shape);
  if (!index.ok()) return index.status();
  return stored_->ReadCandidates(stored_->tensors[*index]);
}

}  // namespace filigree::checkpoint
