#include <fmt/format.h>

#include <filesystem>

#include "worker/config/keys.h"
#include "worker/config/load.h"
#include "worker/config/value.h"

// What a resumed run may change.

namespace filigree::config {
namespace {

// Paths are equal where they name the same folder in different words. (data.dir is free: the corpus may have moved, and
// the trainer compares its digest with that of the checkpoint.)
bool Same(const Key& key, const Settings& a, const Settings& b) {
  const std::string x = FormatValue(key, a), y = FormatValue(key, b);
  if (x == y || key.name != "init.from") return x == y;
  const auto& field = std::get<TextField>(key.field);
  const auto whole = [&](const Settings& settings) {
    const std::string& path = field.at.read(settings);
    if (path.empty()) return path;
    std::error_code error;
    std::filesystem::path absolute = std::filesystem::absolute(path, error).lexically_normal();
    if (error) return path;
    return (absolute.has_filename() ? absolute : absolute.parent_path()).string();
  };
  return whole(a) == whole(b);
}

}  // namespace

absl::Status CheckResume(const Settings& stored, const Settings& wanted) {
  std::string changes;
  for (const Key& key : Keys()) {
    if (key.on_resume == OnResume::kFree || Same(key, stored, wanted)) continue;
    changes += fmt::format("{}{} was {} and is now {}", changes.empty() ? "" : "; ", key.name, FormatValue(key, stored),
                           FormatValue(key, wanted));
  }
  if (changes.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the run cannot go on with settings that change what it computes: {}. Give back the stored values, "
                  "or start a new "
                  "run with another run.dir",
                  changes));
}

}  // namespace filigree::config
