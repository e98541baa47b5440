#include "worker/checkpoint/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "worker/checkpoint/manifest.h"

namespace filigree::checkpoint {
namespace {

constexpr char kPrefix[] = "step-";

// The step in a folder's name, or -1: not ours.
int64_t StepOf(const std::string& name) {
  const std::string prefix = kPrefix;
  if (!name.starts_with(prefix)) return -1;
  int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto [stop, code] = std::from_chars(name.data() + prefix.size(), end, step);
  return code == std::errc() && stop == end && name == StepFolderName(step) ? step : -1;
}

// Could a save have written this file into a checkpoint's folder?
bool IsOurs(std::string name) {
  const std::string temporary = ".tmp", data = ".safetensors";
  if (name.ends_with(temporary)) name.resize(name.size() - temporary.size());
  return name == kManifestName || (name.ends_with(data) && (name.starts_with("weights.") ||
                                                            name.starts_with("moments.") || name.starts_with("own-")));
}

// The manifest goes first and durably: what remains after a crash is a leftover, not a damaged checkpoint.
absl::Status RemoveCheckpoint(FileSystem& files, const StepFolder& step) {
  absl::Status status;
  if (step.committed) {
    status = files.RemoveFile(step.path + "/" + kManifestName);
    if (status.ok()) status = files.SyncFolder(step.path);
  }
  if (status.ok()) status = RemoveUnwanted(files, step.path, {});
  if (status.ok()) status = files.RemoveFolder(step.path);
  return status;
}

void Warn(const absl::Status& status, std::vector<std::string>& warnings) {
  if (!status.ok()) warnings.push_back(fmt::format("while tidying up checkpoints: {}", std::string(status.message())));
}

}  // namespace

std::string StepFolderName(int64_t step) { return fmt::format("{}{:010}", kPrefix, step); }

absl::StatusOr<std::vector<StepFolder>> ListSteps(FileSystem& files, const std::string& run_dir) {
  const std::string folder = run_dir + "/" + kCheckpointsFolder;
  auto names = files.List(folder);
  if (!names.ok()) return names.status();
  std::vector<StepFolder> steps;
  for (const std::string& name : *names) {
    const int64_t step = StepOf(name);
    if (step < 0) continue;
    std::string path = fmt::format("{}/{}", folder, name);
    const bool committed = files.Exists(path + "/" + kManifestName);
    steps.push_back({step, std::move(path), committed});
  }
  std::sort(steps.begin(), steps.end(), [](const StepFolder& a, const StepFolder& b) { return a.step > b.step; });
  return steps;
}

absl::Status RemoveUnwanted(FileSystem& files, const std::string& folder, const std::vector<std::string>& wanted) {
  auto names = files.List(folder);
  if (!names.ok()) return names.status();
  absl::Status status;
  for (const std::string& name : *names) {
    if (IsOurs(name) && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
      status.Update(files.RemoveFile(fmt::format("{}/{}", folder, name)));
    }
  }
  return status;
}

void RemoveLeftovers(FileSystem& files, const std::string& run_dir, std::vector<std::string>& warnings) {
  auto steps = ListSteps(files, run_dir);
  if (!steps.ok()) return Warn(steps.status(), warnings);
  for (const StepFolder& step : *steps) {
    if (!step.committed) {
      Warn(RemoveCheckpoint(files, step), warnings);
      continue;
    }
    const std::string path = step.path + "/" + kManifestName;
    auto bytes = ReadFile(files, path, kMaxManifestBytes);
    auto manifest = bytes.ok() ? ParseManifest(*bytes, path) : bytes.status();
    if (!manifest.ok()) continue;  // a damaged checkpoint is left for people to look at until it is too old
    std::vector<std::string> wanted = {kManifestName};
    for (const ManifestFile& file : manifest->files) wanted.push_back(file.name);
    Warn(RemoveUnwanted(files, step.path, wanted), warnings);
  }
}

void RemoveOld(FileSystem& files, const std::string& run_dir, int64_t saved, int keep_last,
               std::vector<std::string>& warnings) {
  auto steps = ListSteps(files, run_dir);
  if (!steps.ok()) return Warn(steps.status(), warnings);
  // Later steps than the one just saved were passed over when the run resumed: they rank behind all earlier ones.
  std::stable_partition(steps->begin(), steps->end(), [&](const StepFolder& s) { return s.step <= saved; });
  for (size_t i = static_cast<size_t>(std::max(keep_last, 1)); i < steps->size(); ++i) {
    Warn(RemoveCheckpoint(files, (*steps)[i]), warnings);
  }
}

}  // namespace filigree::checkpoint
