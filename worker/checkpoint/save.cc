#include <fmt/format.h>

#include <algorithm>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hashing.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/retention.h"
#include "worker/checkpoint/selection.h"

namespace filigree::checkpoint {
namespace {

// One save into one folder. What it creates is noted, so that a failure can take it back.
class FolderWriter {
 public:
  FolderWriter(FileSystem& files, const std::string& folder) : files_(files), folder_(folder) {}

  absl::Status Write(const State& state) {
    absl::Status status = Prepare();
    if (!status.ok()) return status;
    Manifest manifest;
    manifest.step = state.step;
    manifest.position = state.position;
    manifest.seed = state.seed;
    manifest.texts = state.texts;
    manifest.extras = state.extras;
    std::vector<TensorSource> weights, moments;
    Describe(state, manifest, weights, moments);
    status = WriteData("weights", std::move(weights), manifest);
    if (status.ok() && !moments.empty()) status = WriteData("moments", std::move(moments), manifest);
    if (status.ok()) status = files_.SyncFolder(folder_);
    if (status.ok()) status = Commit(manifest);
    if (!status.ok()) Undo();
    return status;
  }

  uint64_t bytes() const { return bytes_; }
  // The files of the checkpoint: everything else in the folder is of an older one.
  const std::vector<std::string>& names() const { return names_; }

 private:
  // A folder that holds a checkpoint already keeps it until the new manifest replaces the old: data files get names
  // that are still free (weights.safetensors, weights.1.safetensors, ...).
  absl::Status Prepare() {
    fresh_ = !files_.Exists(folder_);
    absl::Status status = files_.CreateFolder(folder_);
    if (!status.ok()) return status;
    const auto taken = [&](int g) {
      return files_.Exists(Path(DataName("weights", g))) || files_.Exists(Path(DataName("moments", g)));
    };
    while (taken(generation_)) ++generation_;
    return absl::OkStatus();
  }

  static void Describe(const State& state, Manifest& manifest, std::vector<TensorSource>& weights,
                       std::vector<TensorSource>& moments) {
    for (const StateTensor& tensor : state.tensors) {
      manifest.tensors.push_back(ChooseStorage(tensor));
      for (TensorSource& source : WeightSources(tensor, manifest.tensors.back())) weights.push_back(std::move(source));
      for (TensorSource& source : MomentSources(tensor)) moments.push_back(std::move(source));
    }
    std::sort(manifest.tensors.begin(), manifest.tensors.end(),
              [](const ManifestTensor& a, const ManifestTensor& b) { return a.name < b.name; });
  }

  static std::string DataName(const std::string& role, int generation) {
    return generation == 0 ? role + ".safetensors" : fmt::format("{}.{}.safetensors", role, generation);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  // Temporary name, sync, rename.
  template <typename WriteContent>
  absl::Status WriteFile(const std::string& name, WriteContent write) {
    const std::string temporary = name + ".tmp";
    auto created = files_.Create(Path(temporary));
    if (!created.ok()) return created.status();
    names_.push_back(temporary);
    HashingFile file(std::move(*created));
    absl::Status status = write(file);
    if (status.ok()) status = file.Sync();
    if (status.ok()) status = file.Close();
    if (status.ok()) status = files_.Rename(Path(temporary), Path(name));
    if (!status.ok()) return status;
    names_.back() = name;
    bytes_ += file.bytes();
    last_hash_ = file.Hex();
    last_bytes_ = file.bytes();
    return absl::OkStatus();
  }

  absl::Status WriteData(const std::string& role, std::vector<TensorSource> tensors, Manifest& manifest) {
    const std::string name = DataName(role, generation_);
    absl::Status status =
        WriteFile(name, [&](HashingFile& file) { return WriteSafetensors(file, std::move(tensors), {}); });
    if (status.ok()) manifest.files.push_back({role, name, last_bytes_, last_hash_});
    return status;
  }

  absl::Status Commit(const Manifest& manifest) {
    auto text = EncodeManifest(manifest);
    if (!text.ok()) return text.status();
    absl::Status status =
        WriteFile(kManifestName, [&](HashingFile& file) { return file.Append(text->data(), text->size()); });
    if (!status.ok()) return status;
    committed_ = true;
    return files_.SyncFolder(folder_);
  }

  // After the rename of the manifest nothing may be taken back: the checkpoint is whole, if perhaps not yet durable.
  void Undo() {
    if (committed_) return;
    for (const std::string& name : names_) files_.RemoveFile(Path(name)).IgnoreError();
    if (fresh_) files_.RemoveFolder(folder_).IgnoreError();
  }

  FileSystem& files_;
  const std::string folder_;
  bool fresh_ = false, committed_ = false;
  int generation_ = 0;
  std::vector<std::string> names_;
  uint64_t bytes_ = 0, last_bytes_ = 0;
  std::string last_hash_;
};

}  // namespace

absl::StatusOr<SaveResult> SaveFolder(FileSystem& files, const std::string& folder, const State& state) {
  absl::Status status = CheckState(state);
  if (!status.ok()) return status;
  FolderWriter writer(files, folder);
  status = writer.Write(state);
  if (!status.ok()) return status;
  SaveResult result{folder, writer.bytes(), {}};
  status = RemoveUnwanted(files, folder, writer.names());
  if (!status.ok()) result.warnings.push_back(std::string(status.message()));
  return result;
}

absl::StatusOr<SaveResult> Save(FileSystem& files, const std::string& run_dir, const State& state, int keep_last) {
  const std::string checkpoints = run_dir + "/" + kCheckpointsFolder;
  absl::Status status = files.CreateFolder(checkpoints);
  if (status.ok()) status = files.SyncFolder(run_dir);
  if (!status.ok()) return status;
  // First, so that their space is free for this save.
  std::vector<std::string> warnings;
  RemoveLeftovers(files, run_dir, warnings);
  auto saved = SaveFolder(files, checkpoints + "/" + StepFolderName(state.step), state);
  if (!saved.ok()) return saved.status();
  status = files.SyncFolder(checkpoints);
  if (!status.ok()) return status;
  RemoveOld(files, run_dir, state.step, keep_last, warnings);
  saved->warnings.insert(saved->warnings.begin(), warnings.begin(), warnings.end());
  return saved;
}

}  // namespace filigree::checkpoint
