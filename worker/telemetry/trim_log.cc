#include "worker/telemetry/trim_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_replace.h"
#include "worker/telemetry/parse_record.h"
#include "worker/telemetry/read_log.h"
#include "worker/telemetry/z_score.h"

namespace filigree::telemetry {
namespace {

// Whether a resumed run keeps a line, and the loss of a step that it keeps.
struct Filter {
  int64_t completed;
  KeptLog& kept;

  bool Keeps(const std::string& line) {
    Record record;
    int64_t step = 0;
    const LineKind kind = ReadLine(line, record, step);
    if (kind == LineKind::kDamaged) {
      ++kept.damaged_lines;
      return false;
    }
    const auto* of_step = kind == LineKind::kRecord ? std::get_if<StepRecord>(&record) : nullptr;
    if (of_step == nullptr) return step <= completed;
    if (step >= completed) return false;
    kept.last_step = std::max(kept.last_step, step);
    if (std::isfinite(of_step->loss)) kept.losses.push_back(of_step->loss);
    return true;
  }
};

// Where an open file can be opened once more, with a place of its own to read from.
std::string NameOf(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

// One piece, block by block: a log may be larger than memory.
bool CopyPiece(std::FILE* from, int64_t begin, int64_t end, std::FILE* to) {
  constexpr int64_t kBlock = int64_t{1} << 20;
  std::vector<char> buffer;
  bool good = std::fseek(from, begin, SEEK_SET) == 0;
  for (int64_t at = begin; good && at < end; at += kBlock) {
    buffer.resize(static_cast<size_t>(std::min(kBlock, end - at)));
    good = std::fread(buffer.data(), 1, buffer.size(), from) == buffer.size() &&
           std::fwrite(buffer.data(), 1, buffer.size(), to) == buffer.size();
  }
  return good;
}

// Whether the file has room for so many bytes, which it then has for sure. Where the file system cannot promise that,
// what is free has to do: a copy that is tried again and again must not take what others need.
bool HasRoom(std::FILE* file, int64_t bytes) {
  int failed = 0;
  do {
    failed = bytes == 0 ? 0 : fallocate(fileno(file), 0, 0, bytes);
  } while (failed != 0 && errno == EINTR);
  if (failed == 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return failed == 0;
  struct statvfs disk = {};
  if (fstatvfs(fileno(file), &disk) != 0) return false;
  const bool fits = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize > static_cast<uint64_t>(bytes);
  if (!fits) errno = ENOSPC;
  return fits;
}

}  // namespace

absl::Status LogError(const std::string& path, const std::string& what, int error) {
  const std::string text = fmt::format("{}: {}: {}", path, what, std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(text + "; the run folder must exist");
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(text + "; free some space, training goes on");
    default:
      return absl::UnavailableError(text);
  }
}

absl::StatusOr<KeptLog> ReadKept(const std::string& path, int fd, int64_t completed) {
  KeptLog kept;
  if (completed == 0) return kept;
  Filter filter{completed, kept};
  int64_t begin = 0;
  const std::string name = NameOf(fd);
  const absl::Status read = ForEachLine(name, [&](const std::string& line, int64_t end) {
    if (filter.Keeps(line)) {
      if (!kept.pieces.empty() && kept.pieces.back().second == begin)
        kept.pieces.back().second = end;
      else
        kept.pieces.emplace_back(begin, end);
      kept.bytes += end - begin;
    }
    begin = end;
    if (kept.losses.size() > 2 * ZScore::kWindow)
      kept.losses.erase(kept.losses.begin(), kept.losses.end() - ZScore::kWindow);
  });
  if (read.ok()) return kept;
  return absl::Status(read.code(), absl::StrReplaceAll(read.message(), {{name, path}}));
}

absl::Status CopyPieces(const std::string& path, int fd, const Pieces& pieces, const std::string& to) {
  int64_t bytes = 0;
  for (const auto& [begin, end] : pieces) bytes += end - begin;
  std::FILE* in = pieces.empty() ? nullptr : std::fopen(NameOf(fd).c_str(), "rb");
  if (in == nullptr && !pieces.empty()) return LogError(path, "cannot be read", errno);
  std::FILE* out = std::fopen(to.c_str(), "wb");
  bool good = out != nullptr && HasRoom(out, bytes);
  for (const auto& [begin, end] : pieces) good = good && CopyPiece(in, begin, end, out);
  good = good && std::fflush(out) == 0 && fsync(fileno(out)) == 0;
  int error = errno;
  if (in != nullptr) std::fclose(in);
  if (out != nullptr && std::fclose(out) != 0 && good) {
    good = false;
    error = errno;
  }
  if (good) return absl::OkStatus();
  std::remove(to.c_str());
  return LogError(path, "could not be written anew", error);
}

}  // namespace filigree::telemetry
