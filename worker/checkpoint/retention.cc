#include "worker/checkpoint/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "worker/checkpoint/manifest.h"

namespace filigree::checkpoint {
namespace {

constexpr char kPrefix[] = "step-";
constexpr char kOfGeneration[] = "-g";
constexpr uint64_t kMostMarkBytes = 256;

// Step and generation in a folder's name; false: not ours.
bool ReadName(const std::string& name, StepFolder& folder) {
  const std::string prefix = kPrefix, of_generation = kOfGeneration;
  if (!name.starts_with(prefix)) return false;
  const char* end = name.data() + name.size();
  auto [at, code] = std::from_chars(name.data() + prefix.size(), end, folder.step);
  if (code != std::errc()) return false;
  if (std::string_view(at, end).starts_with(of_generation)) {
    code = std::from_chars(at + of_generation.size(), end, folder.generation).ec;
  }
  return code == std::errc() && folder.step >= 0 && folder.generation >= 0 &&
         name == StepFolderName(folder.step, folder.generation);
}

// Could a save have written this file into a checkpoint's folder?
bool IsOurs(std::string name) {
  const std::string temporary = ".tmp", data = ".safetensors";
  if (name.ends_with(temporary)) name.resize(name.size() - temporary.size());
  return name == kManifestName || name == kCommittedName ||
         (name.ends_with(data) &&
          (name.starts_with("weights.") || name.starts_with("moments.") || name.starts_with("own-")));
}

// The manifest goes first and durably: what remains after a crash is a leftover, not a damaged checkpoint.
absl::Status RemoveCheckpoint(FileSystem& files, const StepFolder& step) {
  absl::Status status;
  if (step.whole) {
    status = files.RemoveFile(step.path + "/" + kManifestName);
    if (status.ok()) status = files.SyncFolder(step.path);
  }
  if (status.ok()) status = RemoveUnwanted(files, step.path, {});
  if (status.ok()) status = files.RemoveFolder(step.path);
  return status;
}

std::vector<std::string> NamesOf(const Manifest& manifest) {
  std::vector<std::string> names = {kManifestName, kCommittedName};
  names.reserve(names.size() + manifest.files.size());
  for (const ManifestFile& file : manifest.files) names.push_back(file.name);
  return names;
}

void Warn(const absl::Status& status, std::vector<std::string>& warnings) {
  if (!status.ok()) warnings.push_back(fmt::format("while tidying up checkpoints: {}", std::string(status.message())));
}

}  // namespace

std::string StepFolderName(int64_t step, int64_t generation) {
  std::string name = fmt::format("{}{:010}", kPrefix, step);
  if (generation > 0) name += fmt::format("{}{}", kOfGeneration, generation);
  return name;
}

absl::StatusOr<std::vector<StepFolder>> ListSteps(FileSystem& files, const std::string& run_dir) {
  const std::string folder = run_dir + "/" + kCheckpointsFolder;
  auto names = files.List(folder);
  if (!names.ok()) return names.status();
  std::vector<StepFolder> steps;
  for (const std::string& name : *names) {
    StepFolder step;
    if (!ReadName(name, step)) continue;
    step.path = fmt::format("{}/{}", folder, name);
    const auto whole = files.Exists(step.path + "/" + kManifestName);
    const auto marked = step.generation == 0 ? whole : files.Exists(step.path + "/" + kCommittedName);
    if (!whole.ok() || !marked.ok()) return whole.ok() ? marked.status() : whole.status();
    step.whole = *whole;
    step.committed = *whole && *marked;
    steps.push_back(std::move(step));
  }
  std::sort(steps.begin(), steps.end(), [](const StepFolder& a, const StepFolder& b) {
    return std::pair(a.step, a.generation) > std::pair(b.step, b.generation);
  });
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

void RemoveLeftovers(FileSystem& files, const std::string& run_dir, int64_t generation,
                     std::vector<std::string>& warnings) {
  auto steps = ListSteps(files, run_dir);
  if (!steps.ok()) return Warn(steps.status(), warnings);
  for (const StepFolder& step : *steps) {
    if (step.generation > generation) continue;
    if (!step.whole) {
      Warn(RemoveCheckpoint(files, step), warnings);
      continue;
    }
    const std::string path = step.path + "/" + kManifestName;
    auto bytes = ReadFile(files, path, kMaxManifestBytes);
    auto manifest = bytes.ok() ? ParseManifest(*bytes, path) : bytes.status();
    if (!manifest.ok()) continue;  // a damaged checkpoint is left for people to look at until it is too old
    Warn(RemoveUnwanted(files, step.path, NamesOf(*manifest)), warnings);
  }
}

void RemoveOld(FileSystem& files, const std::string& run_dir, const CommitPoint& saved, int keep_last,
               std::vector<std::string>& warnings) {
  auto steps = ListSteps(files, run_dir);
  if (!steps.ok()) return Warn(steps.status(), warnings);
  std::erase_if(*steps, [&](const StepFolder& s) { return s.generation > saved.generation; });
  const auto is_saved = [&](const StepFolder& s) { return s.step == saved.step && s.generation == saved.generation; };
  // Later steps than the one just saved were passed over when the run resumed: they rank behind all earlier ones.
  std::stable_partition(steps->begin(), steps->end(), [&](const StepFolder& s) { return s.step <= saved.step; });
  std::stable_partition(steps->begin(), steps->end(), is_saved);
  int kept = 0;
  for (const StepFolder& step : *steps) {
    // What was never committed is not what a successor begins with, now that something later is.
    if ((is_saved(step) || step.committed) && kept < std::max(keep_last, 1)) {
      ++kept;
    } else {
      Warn(RemoveCheckpoint(files, step), warnings);
    }
  }
}

std::string CommittedText(const CommitPoint& point) {
  return fmt::format("generation {} step {} manifest {}\n", point.generation, point.step, point.digest);
}

absl::StatusOr<bool> SaysCommitted(FileSystem& files, const std::string& folder, const CommitPoint& point) {
  const auto text = ReadFile(files, fmt::format("{}/{}", folder, kCommittedName), kMostMarkBytes);
  if (absl::IsNotFound(text.status())) return false;
  if (!text.ok()) return text.status();
  return *text == CommittedText(point);
}

absl::Status MarkCommitted(FileSystem& files, const std::string& folder, const CommitPoint& point) {
  const std::string path = fmt::format("{}/{}", folder, kCommittedName), temporary = path + ".tmp";
  auto file = files.Create(temporary);
  if (!file.ok()) return file.status();
  const std::string text = CommittedText(point);
  absl::Status status = (*file)->Append(text.data(), text.size());
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = (*file)->Close();
  if (status.ok()) status = files.Rename(temporary, path);
  return status.ok() ? files.SyncFolder(folder) : status;
}

}  // namespace filigree::checkpoint
