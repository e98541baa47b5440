#include "worker/telemetry/trim_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

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

using Pieces = std::vector<std::pair<int64_t, int64_t>>;  // [begin, end) of a file, ascending

// Pieces of one file as another.
absl::Status CopyPieces(const std::string& path, const Pieces& pieces, const std::string& next) {
  std::FILE* from = std::fopen(path.c_str(), "rb");
  if (from == nullptr && !pieces.empty()) return LogError(path, "cannot be read", errno);
  std::FILE* to = std::fopen(next.c_str(), "wb");
  bool good = to != nullptr;
  constexpr int64_t kBlock = int64_t{1} << 20;  // a log may be larger than memory
  std::vector<char> buffer;
  for (const auto& [begin, end] : pieces) {
    good = good && std::fseek(from, begin, SEEK_SET) == 0;
    for (int64_t at = begin; good && at < end; at += kBlock) {
      buffer.resize(static_cast<size_t>(std::min(kBlock, end - at)));
      good = std::fread(buffer.data(), 1, buffer.size(), from) == buffer.size() &&
             std::fwrite(buffer.data(), 1, buffer.size(), to) == buffer.size();
    }
  }
  good = good && std::fflush(to) == 0 && fsync(fileno(to)) == 0;
  int error = errno;
  if (from != nullptr) std::fclose(from);
  if (to != nullptr && std::fclose(to) != 0 && good) {
    good = false;
    error = errno;
  }
  if (good) return absl::OkStatus();
  std::remove(next.c_str());
  return LogError(path, "could not be written anew", error);
}

// What is kept of a log whose dropped lines lie between others, as a new file in its place.
absl::Status Rewrite(const std::string& path, const Pieces& pieces) {
  const std::string next = path + ".new";
  if (absl::Status status = CopyPieces(path, pieces, next); !status.ok()) return status;
  if (std::rename(next.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::remove(next.c_str());
  return LogError(path, "could not be written anew", error);
}

// Pieces of the file that stay, neighbours joined.
absl::StatusOr<Pieces> KeptPieces(const std::string& path, int64_t completed, KeptLog& kept) {
  Pieces pieces;
  if (completed == 0) return pieces;
  Filter filter{completed, kept};
  int64_t begin = 0;
  const absl::Status read = ForEachLine(path, [&](const std::string& line, int64_t end) {
    if (filter.Keeps(line)) {
      if (!pieces.empty() && pieces.back().second == begin)
        pieces.back().second = end;
      else
        pieces.emplace_back(begin, end);
      kept.bytes += end - begin;
    }
    begin = end;
    if (kept.losses.size() > 2 * ZScore::kWindow)
      kept.losses.erase(kept.losses.begin(), kept.losses.end() - ZScore::kWindow);
  });
  if (absl::IsNotFound(read)) return absl::PermissionDeniedError(std::string(read.message()));
  if (!read.ok()) return read;
  return pieces;
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

absl::StatusOr<KeptLog> TrimLog(const std::string& path, int64_t completed) {
  KeptLog kept;
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return kept;
    return LogError(path, "cannot be read", errno);
  }
  const absl::StatusOr<Pieces> pieces = KeptPieces(path, completed, kept);
  if (!pieces.ok()) return pieces.status();
  const bool beginning = pieces->empty() || (pieces->size() == 1 && pieces->front().first == 0);
  if (!beginning) {
    if (absl::Status status = Rewrite(path, *pieces); !status.ok()) return status;
  } else if (file.st_size != kept.bytes && truncate(path.c_str(), kept.bytes) != 0) {
    return LogError(path, "cannot be cut", errno);
  }
  return kept;
}

absl::StatusOr<KeptLog> CopyTrimmedLog(const std::string& path, int64_t completed, const std::string& to) {
  KeptLog kept;
  absl::StatusOr<Pieces> pieces = Pieces();
  struct stat file {};
  if (stat(path.c_str(), &file) == 0) {
    pieces = KeptPieces(path, completed, kept);
  } else if (errno != ENOENT) {
    return LogError(path, "cannot be read", errno);
  }
  if (!pieces.ok()) return pieces.status();
  if (absl::Status status = CopyPieces(path, *pieces, to); !status.ok()) return status;
  return kept;
}

absl::Status CopyLog(int from, int64_t bytes, const std::string& to) {
  constexpr int64_t kPiece = 1 << 20;
  Pieces pieces;
  for (int64_t at = 0; at < bytes; at += kPiece) pieces.emplace_back(at, std::min(bytes, at + kPiece));
  return CopyPieces(fmt::format("/proc/self/fd/{}", from), pieces, to);
}

}  // namespace filigree::telemetry
