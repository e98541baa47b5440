#ifndef FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_
#define FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Which lines of a run's log stay where the run resumes, and a file of them.

namespace filigree::telemetry {

using Pieces = std::vector<std::pair<int64_t, int64_t>>;  // [begin, end) of a file in bytes, ascending

struct KeptLog {
  Pieces pieces;  // the lines that stay, neighbours joined
  int64_t bytes = 0;
  int64_t damaged_lines = 0;   // whole lines that were dropped as no record
  std::vector<double> losses;  // finite ones of the last steps, at least as many as the z-score looks at
  int64_t last_step = -1;      // of its step records; -1: there is none
};

// Of an open file, from its beginning; `path` is what errors call it. Dropped is what is beyond `completed` (steps >=
// completed, other records > completed; all of it when completed is 0), a torn last line and lines that are no record.
absl::StatusOr<KeptLog> ReadKept(const std::string& path, int fd, int64_t completed);

// Pieces of an open file (none: it may be -1) as a new file `to`, durably; where there is no room for all of them,
// nothing is written. `path` is what errors call it.
absl::Status CopyPieces(const std::string& path, int fd, const Pieces& pieces, const std::string& to);

// errno as a Status: NotFound, PermissionDenied, ResourceExhausted (no space), else Unavailable.
absl::Status LogError(const std::string& path, const std::string& what, int error);

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_
