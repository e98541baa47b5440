#include "worker/data/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "worker/data/files.h"
#include "worker/data/manifest.h"

namespace filigree::data {
namespace {

namespace fs = std::filesystem;

constexpr char kStaging[] = ".filigree-partial";
constexpr int64_t kMaxManifestBytes = int64_t{1} << 26;

bool IsOurManifest(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxManifestBytes);
  if (!text.ok()) return false;
  const nlohmann::json root = nlohmann::json::parse(*text, nullptr, false);
  return root.is_object() && root.contains("format") && root["format"] == kCorpusFormat;
}

// OK where everything in the folder may be ours to replace.
absl::Status CheckOurs(const std::string& dir) {
  std::error_code error;
  if (IsOurManifest(dir + "/" + kManifestFile) || fs::exists(dir + "/" + kStaging, error)) return absl::OkStatus();
  const fs::directory_iterator first(dir, error);
  if (error) return SystemError(error.value(), dir, "list");
  if (first == fs::directory_iterator()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{}: holds {}, and no corpus that `filigree prepare` made; nothing was changed: choose another --out or "
      "an empty folder",
      dir, first->path().filename().string()));
}

// A name that a split's shards have (shard_writer.h); other files in the folder are their owner's.
bool IsShardName(std::string_view name) {
  if (!name.ends_with(".bin")) return false;
  name.remove_suffix(4);
  for (const std::string_view split : {"train_", "val_"}) {
    if (!name.starts_with(split)) continue;
    const std::string_view number = name.substr(split.size());
    return number.size() >= 6 && number.find_first_not_of("0123456789") == std::string_view::npos;
  }
  return false;
}

}  // namespace

OutputFolder::OutputFolder(std::string dir, int lock, bool created)
    : dir_(std::move(dir)), staging_(dir_ + "/" + kStaging), lock_(lock), created_(created) {}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  // Where the old manifest has gone and the new one has not come, what is staged says whose folder this is.
  if (!torn_) fs::remove_all(staging_, ignored);
  if (created_) fs::remove(dir_, ignored);  // fails where anything is in it
  close(lock_);
}

absl::StatusOr<std::unique_ptr<OutputFolder>> OutputFolder::Claim(const std::string& dir) {
  std::error_code error;
  const bool created = fs::create_directories(dir, error);
  if (error) return SystemError(error.value(), dir, "make this folder");
  const int lock = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0) return SystemError(errno, dir, "open this folder");
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return absl::FailedPreconditionError(
        fmt::format("{}: another `filigree prepare` is writing this folder; wait for it or choose another --out", dir));
  }
  if (absl::Status status = CheckOurs(dir); !status.ok()) {
    close(lock);
    return status;
  }
  std::unique_ptr<OutputFolder> folder(new OutputFolder(dir, lock, created));
  // One that stopped in the middle of Commit: till that is made up for, what is staged has to stay.
  folder->torn_ = fs::exists(folder->staging_, error) && !fs::exists(dir + "/" + kManifestFile, error);
  fs::remove_all(folder->staging_, error);
  if (!error) fs::create_directory(folder->staging_, error);
  if (error) return SystemError(error.value(), folder->staging_, "make this folder");
  return folder;
}

absl::Status OutputFolder::SyncFolder() const {
  return fsync(lock_) == 0 ? absl::OkStatus() : SystemError(errno, dir_, "sync to disk");
}

absl::Status OutputFolder::Commit(const std::string& manifest) {
  const std::string staged_manifest = staging_ + "/" + kManifestFile, final_manifest = dir_ + "/" + kManifestFile;
  if (absl::Status status = WriteWholeFile(staged_manifest, manifest); !status.ok()) return status;
  if (unlink(final_manifest.c_str()) != 0 && errno != ENOENT) return SystemError(errno, final_manifest, "replace");
  torn_ = true;
  if (absl::Status status = SyncFolder(); !status.ok()) return status;

  std::error_code error;
  std::set<std::string> staged;
  for (const auto& entry : fs::directory_iterator(staging_, error)) staged.insert(entry.path().filename().string());
  for (const std::string& name : staged) {
    if (name == kManifestFile) continue;
    fs::rename(staging_ + "/" + name, dir_ + "/" + name, error);
    if (error) return SystemError(error.value(), dir_ + "/" + name, "replace");
  }
  std::set<std::string> stale;
  for (const auto& entry : fs::directory_iterator(dir_, error)) {
    const std::string name = entry.path().filename().string();
    if (IsShardName(name) && !staged.contains(name)) stale.insert(name);
  }
  for (const std::string& name : stale) fs::remove(dir_ + "/" + name, error);
  if (absl::Status status = SyncFolder(); !status.ok()) return status;
  fs::rename(staged_manifest, final_manifest, error);
  if (error) return SystemError(error.value(), final_manifest, "replace");
  torn_ = created_ = false;
  return SyncFolder();
}

}  // namespace filigree::data
