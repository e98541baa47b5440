#ifndef FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_
#define FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Brings the log of a run back to where the run resumes.

namespace filigree::telemetry {

struct KeptLog {
  int64_t bytes = 0;
  int64_t damaged_lines = 0;   // whole lines that were dropped as no record
  std::vector<double> losses;  // finite ones of the last steps, at least as many as the z-score looks at
  int64_t last_step = -1;      // of its step records; -1: there is none
};

// Drops from the file what is beyond `completed` (see StepLog). A file that is missing stays so. What is kept is either
// the beginning of the file, which is cut in place, or written anew beside it and renamed: after a crash or an error
// the file is the old or the new one.
absl::StatusOr<KeptLog> TrimLog(const std::string& path, int64_t completed);

// The same as a new file `to`, durably; what is at `path` stays as it is.
absl::StatusOr<KeptLog> CopyTrimmedLog(const std::string& path, int64_t completed, const std::string& to);
// The beginning of an open file as a new file `to`, durably.
absl::Status CopyLog(int from, int64_t bytes, const std::string& to);

// errno as a Status: NotFound, PermissionDenied, ResourceExhausted (no space), else Unavailable.
absl::Status LogError(const std::string& path, const std::string& what, int error);

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_TRIM_LOG_H_
