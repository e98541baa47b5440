#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hashing.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/parts.h"
#include "worker/checkpoint/retention.h"
#include "worker/checkpoint/selection.h"

namespace filigree::checkpoint {
namespace {

// weights.safetensors, moments.p3.safetensors (of part 3), weights.p3.1.safetensors (where the former was taken).
std::string DataName(const std::string& role, int part, const std::string& token) {
  const std::string of_part = part == 0 ? "" : fmt::format(".p{}", part);
  return fmt::format("{}{}{}{}.safetensors", role, of_part, token.empty() ? "" : ".", token);
}

// Is this a data file with that token, a number? With none: whatever has no number.
bool IsOf(const std::string& name, const std::string& token) {
  if (!token.empty()) return name.ends_with("." + token + ".safetensors");
  if (!name.ends_with(".safetensors")) return false;
  const std::string stem = name.substr(0, name.size() - std::string(".safetensors").size());
  const size_t dot = stem.rfind('.');
  return dot == std::string::npos || dot + 1 == stem.size() || stem[dot + 1] < '0' || stem[dot + 1] > '9';
}

// A folder that holds a checkpoint already keeps it until the new manifest replaces the old: data files get names that
// are still free.
absl::StatusOr<OpenSave> OpenFolder(FileSystem& files, const std::string& folder, const std::string& token) {
  const absl::StatusOr<bool> there = files.Exists(folder);
  if (!there.ok()) return there.status();
  OpenSave save{folder, token, !*there};
  if (absl::Status status = files.CreateFolder(folder); !status.ok()) return status;
  if (save.fresh || !token.empty()) return save;
  const auto names = files.List(folder);
  if (!names.ok()) return names.status();
  const auto taken = [&] {
    return std::any_of(names->begin(), names->end(), [&](const std::string& name) { return IsOf(name, save.token); });
  };
  for (int n = 1; taken(); ++n) save.token = std::to_string(n);
  return save;
}

// Temporary name, sync, rename. Returns what a manifest says of the file.
template <typename WriteContent>
absl::StatusOr<ManifestFile> WriteFile(FileSystem& files, const std::string& folder, const std::string& name,
                                       WriteContent write) {
  const std::string path = folder + "/" + name, temporary = path + ".tmp";
  auto created = files.Create(temporary);
  if (!created.ok()) return created.status();
  HashingFile file(std::move(*created));
  absl::Status status = write(file);
  if (status.ok()) status = file.Sync();
  if (status.ok()) status = file.Close();
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) return status;
  return ManifestFile{"", name, file.bytes(), file.Hex()};
}

absl::Status WriteData(FileSystem& files, const OpenSave& save, const std::string& role, int part,
                       std::vector<TensorSource> tensors, Manifest& manifest) {
  auto file = WriteFile(files, save.folder, DataName(role, part, save.token),
                        [&](HashingFile& to) { return WriteSafetensors(to, std::move(tensors), {}); });
  if (!file.ok()) return file.status();
  file->role = role;
  manifest.files.push_back(*std::move(file));
  return absl::OkStatus();
}

std::vector<TensorSource> OwnSources(std::span<const OwnTensor> own) {
  std::vector<TensorSource> sources;
  sources.reserve(own.size());
  for (const OwnTensor& tensor : own) {
    sources.push_back(
        {tensor.name, DType::kF32, {std::ssize(tensor.values)}, [values = tensor.values](WritableFile& to) {
           return to.Append(values.data(), values.size_bytes());
         }});
  }
  return sources;
}

absl::StatusOr<Manifest> WriteFiles(FileSystem& files, const OpenSave& save, int part, const State& state,
                                    std::span<const OwnTensor> own) {
  if (absl::Status status = CheckState(state); !status.ok()) return status;
  Manifest manifest;
  std::vector<TensorSource> weights, moments;
  for (const StateTensor& tensor : state.tensors) {
    manifest.tensors.push_back(ChooseStorage(tensor));
    for (TensorSource& source : WeightSources(tensor, manifest.tensors.back())) weights.push_back(std::move(source));
    for (TensorSource& source : MomentSources(tensor)) moments.push_back(std::move(source));
  }
  std::sort(manifest.tensors.begin(), manifest.tensors.end(),
            [](const ManifestTensor& a, const ManifestTensor& b) { return a.name < b.name; });
  absl::Status status;
  if (!weights.empty()) status = WriteData(files, save, "weights", part, std::move(weights), manifest);
  if (status.ok() && !moments.empty()) status = WriteData(files, save, "moments", part, std::move(moments), manifest);
  if (status.ok() && !own.empty()) status = WriteData(files, save, OwnRole(part), part, OwnSources(own), manifest);
  if (status.ok()) status = files.SyncFolder(save.folder);
  if (!status.ok()) return status;
  return manifest;
}

// The rename of the manifest is the commit: after it nothing may be taken back, even if the sync fails.
absl::Status WriteManifest(FileSystem& files, const OpenSave& save, const Manifest& manifest, std::string& digest,
                           bool& committed) {
  auto text = EncodeManifest(manifest);
  if (!text.ok()) return text.status();
  digest = Xxh3Hex(*text);
  const auto written = WriteFile(files, save.folder, kManifestName,
                                 [&](HashingFile& to) { return to.Append(text->data(), text->size()); });
  if (!written.ok()) return written.status();
  committed = true;
  return files.SyncFolder(save.folder);
}

// Another rank's files, as this one sees them.
absl::Status CheckSeen(FileSystem& files, const OpenSave& save, const ManifestFile& file, int part) {
  const std::string path = save.folder + "/" + file.name;
  const auto seen = files.OpenForRead(path);
  if (seen.ok() && (*seen)->size() == file.bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{}, which rank {} has written, is not to be seen whole by the first rank: run.dir must be on a file "
                  "system that all ranks share",
                  path, part));
}

absl::StatusOr<Manifest> Join(FileSystem& files, const OpenSave& save, const State& state,
                              std::span<const std::string> parts) {
  Manifest all;
  all.step = state.step;
  all.position = state.position;
  all.seed = state.seed;
  all.texts = state.texts;
  all.extras = state.extras;
  for (size_t part = 0; part < parts.size(); ++part) {
    auto manifest = ParseManifest(parts[part], fmt::format("what rank {} says of its part of the checkpoint", part));
    if (!manifest.ok()) return manifest.status();
    for (const ManifestFile& file : manifest->files) {
      if (part == 0) break;
      absl::Status status = CheckSeen(files, save, file, static_cast<int>(part));
      if (!status.ok()) return status;
    }
    std::move(manifest->files.begin(), manifest->files.end(), std::back_inserter(all.files));
    std::move(manifest->tensors.begin(), manifest->tensors.end(), std::back_inserter(all.tensors));
  }
  std::sort(all.tensors.begin(), all.tensors.end(),
            [](const ManifestTensor& a, const ManifestTensor& b) { return a.name < b.name; });
  return all;
}

absl::StatusOr<SaveResult> Finish(FileSystem& files, const OpenSave& save, const State& state,
                                  std::span<const std::string> parts) {
  auto manifest = Join(files, save, state, parts);
  bool committed = false;
  SaveResult result;
  result.path = save.folder;
  result.point.step = state.step;
  absl::Status status = manifest.status();
  if (status.ok()) status = WriteManifest(files, save, *manifest, result.point.digest, committed);
  if (!status.ok()) {
    if (!committed) AbandonSave(files, save);
    return status;
  }
  std::vector<std::string> wanted = {kManifestName};
  for (const ManifestFile& file : manifest->files) {
    wanted.push_back(file.name);
    result.bytes += file.bytes;
  }
  status = RemoveUnwanted(files, save.folder, wanted);  // of an older checkpoint of the same step
  if (!status.ok()) result.warnings.push_back(std::string(status.message()));
  return result;
}

// Asks for the commit of what is durable now. A folder stays where it is refused or nobody knows: a commit whose answer
// was lost may name it, and the next one removes it if none does.
absl::Status AskForCommit(FileSystem& files, const Fencing& fencing, SaveResult& saved) {
  saved.point.generation = fencing.generation;
  const absl::Status status = fencing.commit(saved.point);
  const std::string what = fmt::format("checkpoint {} of generation {}", saved.path, fencing.generation);
  if (absl::IsFailedPrecondition(status) || IsSuperseded(status)) {
    return Superseded(fmt::format("{} was refused: {}", what, std::string(status.message())));
  }
  if (!status.ok()) {
    return absl::Status(status.code(), fmt::format("{} was not committed: {}", what, std::string(status.message())));
  }
  const absl::Status marked = MarkCommitted(files, saved.path, saved.point);
  if (!marked.ok()) saved.warnings.push_back(std::string(marked.message()));
  return absl::OkStatus();
}

}  // namespace

std::string NewSaveToken() {
  std::random_device random;
  return fmt::format("s{:08x}{:08x}", random(), random());
}

absl::StatusOr<OpenSave> BeginSave(FileSystem& files, const std::string& run_dir, int64_t step,
                                   std::vector<std::string>& warnings, const SaveMark& mark) {
  const std::string checkpoints = run_dir + "/" + kCheckpointsFolder;
  absl::Status status = files.CreateFolder(checkpoints);
  if (status.ok()) status = files.SyncFolder(run_dir);
  if (!status.ok()) return status;
  // First, so that their space is free for this save.
  RemoveLeftovers(files, run_dir, mark.generation, warnings);
  return OpenFolder(files, checkpoints + "/" + StepFolderName(step, mark.generation), mark.token);
}

absl::StatusOr<std::string> WritePart(FileSystem& files, const OpenSave& save, int part, const State& state,
                                      std::span<const OwnTensor> own) {
  const auto manifest = WriteFiles(files, save, part, state, own);
  if (!manifest.ok()) return manifest.status();
  return EncodeManifest(*manifest);
}

absl::StatusOr<SaveResult> CommitSave(FileSystem& files, const std::string& run_dir, const OpenSave& save,
                                      const State& state, std::span<const std::string> parts, int keep_last,
                                      const Fencing* fencing) {
  auto saved = Finish(files, save, state, parts);
  if (!saved.ok()) return saved.status();
  absl::Status status = files.SyncFolder(run_dir + "/" + kCheckpointsFolder);
  if (status.ok() && fencing != nullptr) status = AskForCommit(files, *fencing, *saved);
  if (!status.ok()) return status;
  RemoveOld(files, run_dir, saved->point, keep_last, saved->warnings);
  return saved;
}

void AbandonSave(FileSystem& files, const OpenSave& save) {
  std::vector<std::string> wanted;
  const std::string path = save.folder + "/" + kManifestName;
  const absl::StatusOr<bool> has_manifest = files.Exists(path);
  if (!has_manifest.ok()) return;  // as below
  if (!save.fresh && *has_manifest) {
    const auto bytes = ReadFile(files, path, kMaxManifestBytes);
    const auto manifest = bytes.ok() ? ParseManifest(*bytes, path) : bytes.status();
    if (!manifest.ok()) return;  // whose files these are is not known: they stay
    wanted.push_back(kManifestName);
    for (const ManifestFile& file : manifest->files) wanted.push_back(file.name);
  }
  RemoveUnwanted(files, save.folder, wanted).IgnoreError();
  if (save.fresh) files.RemoveFolder(save.folder).IgnoreError();
}

std::vector<int> ShareTensors(const State& state, int parts, std::span<const int> owners) {
  std::vector<size_t> order(state.tensors.size());
  std::iota(order.begin(), order.end(), 0);
  const auto values = [&](size_t t) { return StoredValues(state.tensors[t]); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values(a) > values(b); });
  std::vector<int64_t> load(parts);
  std::vector<int> part_of(state.tensors.size());
  for (size_t t = 0; t < owners.size(); ++t) {
    if (owners[t] >= 0) load[owners[t]] += values(t);
  }
  for (const size_t t : order) {
    if (!owners.empty() && owners[t] >= 0) {
      part_of[t] = owners[t];
      continue;
    }
    const auto least = std::min_element(load.begin(), load.end());
    *least += values(t);
    part_of[t] = static_cast<int>(least - load.begin());
  }
  return part_of;
}

absl::StatusOr<SaveResult> SaveFolder(FileSystem& files, const std::string& folder, const State& state) {
  if (absl::Status status = CheckState(state); !status.ok()) return status;
  const auto save = OpenFolder(files, folder, /*token=*/"");
  if (!save.ok()) return save.status();
  const auto part = WritePart(files, *save, 0, state, {});
  if (part.ok()) return Finish(files, *save, state, {&*part, 1});
  AbandonSave(files, *save);
  return part.status();
}

absl::StatusOr<SaveResult> Save(FileSystem& files, const std::string& run_dir, const State& state, int keep_last,
                                const Fencing* fencing) {
  std::vector<std::string> warnings;
  const SaveMark mark{fencing == nullptr ? 0 : fencing->generation, ""};
  const auto save = BeginSave(files, run_dir, state.step, warnings, mark);
  if (!save.ok()) return save.status();
  const auto part = WritePart(files, *save, 0, state, {});
  if (!part.ok()) {
    AbandonSave(files, *save);
    return part.status();
  }
  auto saved = CommitSave(files, run_dir, *save, state, {&*part, 1}, keep_last, fencing);
  if (saved.ok()) saved->warnings.insert(saved->warnings.begin(), warnings.begin(), warnings.end());
  return saved;
}

}  // namespace filigree::checkpoint
