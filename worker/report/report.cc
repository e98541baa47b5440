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

// 0, or errno.
int Fill(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return errno;
  int error = 0;
  if (std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fflush(file) != 0) error = errno;
  if (std::fclose(file) != 0 && error == 0) error = errno;
  return error;
}

// A file as a whole or not at all: a reader never sees half a page. What a link names is replaced, not the link; a
// pipe or device ("/dev/stdout") cannot be replaced and is written to.
absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::error_code unknown;
  const auto type = std::filesystem::status(path, unknown).type();
  if (type == std::filesystem::file_type::directory) return WriteError(path, EISDIR);
  if (type != std::filesystem::file_type::regular && type != std::filesystem::file_type::not_found) {
    const int error = Fill(path, text);
    return error == 0 ? absl::OkStatus() : WriteError(path, error);
  }
  std::string target = path;
  if (type == std::filesystem::file_type::regular) target = std::filesystem::canonical(path, unknown).string();
  const std::string next = fmt::format("{}.{}.new", target, getpid());
  int error = Fill(next, text);
  if (error == 0 && std::rename(next.c_str(), target.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
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
  else if (!std::filesystem::exists(dir + "/config.toml", error))
    return absl::NotFoundError(
        fmt::format("{}: is no run folder, it has neither config.toml nor {}; name the folder that run.dir named", dir,
                    telemetry::StepLog::kFileName));
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
