#include "worker/report/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "worker/config/load.h"
#include "worker/telemetry/step_log.h"

namespace filigree::report {
namespace {

absl::Status WriteError(const std::string& path, int error) {
  const std::string text = fmt::format("{}: cannot be written: {}", path, std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) return absl::PermissionDeniedError(text);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return absl::ResourceExhaustedError(text);
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text + "; name a file in a folder that exists");
  return absl::UnavailableError(text);
}

// The file as a whole or not at all: a reader never sees half a page.
absl::Status WriteFile(const std::string& path, const std::string& text) {
  const std::string next = fmt::format("{}.{}.new", path, getpid());
  std::FILE* file = std::fopen(next.c_str(), "wb");
  if (file == nullptr) return WriteError(path, errno);
  bool good = std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  int error = errno;
  if (std::fclose(file) != 0 && good) {
    good = false;
    error = errno;
  }
  if (good && std::rename(next.c_str(), path.c_str()) == 0) return absl::OkStatus();
  if (good) error = errno;
  std::remove(next.c_str());
  return WriteError(path, error);
}

void ReadConfig(const std::string& path, RunView& run) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return;
  std::string text(config::kMaxFileBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  run.toml = std::move(text);
  auto settings = config::Parse(run.toml, "config.toml");
  if (settings.ok())
    run.settings = *std::move(settings);
  else
    run.warning = std::string(settings.status().message());
}

}  // namespace

absl::StatusOr<RunView> ReadRun(const std::string& dir) {
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error))
    return absl::NotFoundError(fmt::format("{}: no such run folder; name the folder that run.dir named", dir));
  RunView run;
  run.dir = dir;
  ReadConfig(dir + "/config.toml", run);
  const std::string path = dir + "/" + telemetry::StepLog::kFileName;
  auto log = telemetry::ReadLog(path);
  if (log.ok())
    run.log = *std::move(log);
  else if (std::filesystem::exists(path, error))
    run.warning += (run.warning.empty() ? "" : "; ") + std::string(log.status().message());
  return run;
}

absl::StatusOr<std::string> WriteReport(const std::string& dir, const std::string& out) {
  auto run = ReadRun(dir);
  if (!run.ok()) return run.status();
  const std::string path = out.empty() ? dir + "/report.html" : out;
  if (absl::Status status = WriteFile(path, RenderPage(*run)); !status.ok()) return status;
  return path;
}

}  // namespace filigree::report
