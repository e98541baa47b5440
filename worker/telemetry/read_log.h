#ifndef FILIGREE_WORKER_TELEMETRY_READ_LOG_H_
#define FILIGREE_WORKER_TELEMETRY_READ_LOG_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/telemetry/records.h"

// Reads steps.jsonl of a running or finished run. The log is input from outside: lines longer than 16 MiB, lines that
// are no record and a torn last line are left out; unknown keys and kinds are ignored; numbers that are null or missing
// read as NaN (doubles) or 0 (counts).

namespace filigree::telemetry {

using Record = std::variant<RunRecord, StepRecord, EvalRecord, SampleRecord, CheckpointRecord, SnapshotRecord,
                            NoteRecord, EndRecord>;

// One line without its newline -> true and the record; false where it is none that we know.
bool ParseRecord(const std::string& line, Record& record);

// One line of JSON, newline included. Bytes that are not UTF-8 become U+FFFD.
std::string FormatRecord(const Record& record);

// Longer lines are left out.
inline constexpr size_t kLongestLine = 16 << 20;

// `visit` for every whole line of the file with the byte offset behind its newline; a line that is too long is visited
// as an empty one. NotFound where the file cannot be opened; DataLoss where reading stops early.
absl::Status ForEachLine(const std::string& path,
                         const std::function<void(const std::string& line, int64_t end)>& visit);

struct RunLog {
  std::vector<RunRecord> runs;
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
  std::vector<SampleRecord> samples;
  std::vector<CheckpointRecord> checkpoints;
  std::vector<SnapshotRecord> snapshots;
  std::vector<NoteRecord> notes;
  std::vector<EndRecord> ends;
  int64_t damaged_lines = 0;
};

// NotFound where the file cannot be opened. Where reading stops early, what was read, with one damaged line more.
absl::StatusOr<RunLog> ReadLog(const std::string& path);

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_READ_LOG_H_
